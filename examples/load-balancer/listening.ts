/** Binds servers to addresses. */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The address of a server. */
export interface Address {
  readonly host?: string | undefined;
  /** 0, the default, selects a free port. */
  readonly port?: number | undefined;
}

/** Starts to listen; returns the URL of the server. */
export function listening(server: Server, { host = '127.0.0.1', port = 0 }: Address = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const { address, port, family } = server.address() as AddressInfo;
      resolve(`http://${family === 'IPv6' ? `[${address}]` : address}:${port}`);
    });
  });
}
