/** The output of the log. */
import { write, writeSync } from 'node:fs';
import { Counter, type Registry } from 'prom-client';

/** Maximum bytes of an atomic write to a pipe, so that lines of several processes are not interleaved. */
const PIPE_BYTES = 4_096;
/** Bytes of lines that may wait for a write; more lines are dropped. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** Delay before the next write to a full pipe that another process has made non-blocking. */
const RETRY_MS = 10;

/**
 * Writes lines to a file descriptor without blocking. A line that cannot be written, because the disk is full or the
 * reader has ended, is dropped and counted.
 */
export class LogDestination {
  readonly #fd: number;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isWriting = false;
  #dropped = 0;

  constructor(fd = 1) {
    this.#fd = fd;
    process.once('exit', () => this.#writeRest());
  }

  /** The number of lines that were dropped. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Adds the number of dropped lines to a registry. */
  register(registry: Registry): void {
    const dropped = () => this.#dropped;
    new Counter({
      name: 'cc_lb_log_lines_dropped_total',
      help: 'Lines of the log that could not be written',
      registers: [registry],
      collect() {
        this.reset();
        this.inc(dropped());
      },
    });
  }

  write(text: string): void {
    const line = Buffer.from(text);
    if (this.#waitingBytes + line.length > MAX_WAITING_BYTES) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += line.length;
    if (!this.#isWriting) this.#writeNext();
  }

  #writeNext(): void {
    if (this.#waiting.length === 0) return;
    this.#isWriting = true;
    let count = 1;
    let bytes = this.#waiting[0]!.length;
    while (count < this.#waiting.length && bytes + this.#waiting[count]!.length <= PIPE_BYTES) {
      bytes += this.#waiting[count++]!.length;
    }
    this.#waitingBytes -= bytes;
    this.#write(Buffer.concat(this.#waiting.splice(0, count)), count);
  }

  #write(bytes: Buffer, lines: number): void {
    write(this.#fd, bytes, (error, written) => {
      if (error?.code === 'EAGAIN') {
        setTimeout(() => this.#write(bytes, lines), RETRY_MS).unref();
        return;
      }
      if (error === null && written < bytes.length) {
        this.#write(bytes.subarray(written), lines);
        return;
      }
      if (error !== null) this.#dropped += lines;
      this.#isWriting = false;
      this.#writeNext();
    });
  }

  /** Tries once: the process must end even if its log cannot be written. */
  #writeRest(): void {
    try {
      writeSync(this.#fd, Buffer.concat(this.#waiting));
    } catch {
      // The lines are lost, as those of a failed write are.
    }
  }
}
