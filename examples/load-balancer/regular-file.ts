/** Reads files that others may write. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** Without it, opening a FIFO waits for a writer and keeps a thread of Node busy. Windows has no such flag. */
const WITHOUT_WAITING = constants.O_NONBLOCK ?? 0;

/**
 * Returns the contents of a regular file of at most `maxBytes`. Bytes that are appended meanwhile are not read.
 * @throws Error for a larger file, and for a FIFO, device or directory, whose contents may never end
 */
export async function readRegularFile(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | WITHOUT_WAITING);
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new Error(`${path} is not a regular file`);
    if (stats.size > maxBytes) throw new Error(`${path} has ${stats.size} bytes, more than ${maxBytes}`);
    const content = Buffer.alloc(stats.size);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(content, length, content.length - length);
      length += bytesRead;
      if (bytesRead === 0 || length === content.length) return content.subarray(0, length);
    }
  } finally {
    await file.close();
  }
}
