/** The open file descriptors of this process (Linux only). */
import { readdirSync, readlinkSync } from 'node:fs';

/** Returns the number of descriptors without the page map, which each thread that calls guests opens once. */
export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').filter(isNotPageMap).length;
}

function isNotPageMap(descriptor: string): boolean {
  try {
    return !readlinkSync(`/proc/self/fd/${descriptor}`).endsWith('/pagemap');
  } catch {
    // It is closed, such as that of the directory.
    return false;
  }
}
