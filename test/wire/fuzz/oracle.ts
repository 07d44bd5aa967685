/** Runs the oracle as a process that judges batches of inputs. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';

/** The verdict of rkyv on an input: 0 rejected, 1 accepted, 2 accepted and equal to the bytes that rkyv writes. */
export interface Judgment {
  readonly verdict: number;
  /** Canonical JSON, `''` for a rejected input. */
  readonly value: string;
}

/** An input: the number of its root type, and its bytes. */
export interface Input {
  readonly root: number;
  readonly bytes: Uint8Array;
}

const FLUSH = 255;

export class Oracle {
  private readonly child: ChildProcessWithoutNullStreams;
  private received: Buffer = Buffer.alloc(0);
  private wake: (() => void) | null = null;
  private ended = false;

  constructor(binary: string) {
    this.child = spawn(binary, ['judge'], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stderr.pipe(process.stderr);
    this.child.stdout.on('data', (chunk: Buffer) => {
      this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
      this.wake?.();
    });
    this.child.stdout.on('end', () => {
      this.ended = true;
      this.wake?.();
    });
  }

  /** Judges a batch. Only one batch may run at a time. */
  async judge(inputs: readonly Input[]): Promise<Judgment[]> {
    const frames: Uint8Array[] = [];
    for (const { root, bytes } of inputs) frames.push(header(root, bytes.length), bytes);
    frames.push(header(FLUSH, 0));
    this.child.stdin.write(Buffer.concat(frames));
    const judgments: Judgment[] = [];
    while (judgments.length < inputs.length) {
      this.takeInto(judgments, inputs.length);
      if (judgments.length === inputs.length) break;
      if (this.ended) throw new Error('the oracle ended before it had judged every input');
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = null;
    }
    return judgments;
  }

  close(): void {
    this.child.stdin.end();
  }

  private takeInto(judgments: Judgment[], limit: number): void {
    let at = 0;
    while (judgments.length < limit && this.received.length - at >= 5) {
      const length = this.received.readUInt32LE(at + 1);
      if (this.received.length - at < 5 + length) break;
      judgments.push({ verdict: this.received[at]!, value: this.received.toString('utf8', at + 5, at + 5 + length) });
      at += 5 + length;
    }
    this.received = this.received.subarray(at);
  }
}

function header(root: number, length: number): Buffer {
  const made = Buffer.allocUnsafe(5);
  made[0] = root;
  made.writeUInt32LE(length, 1);
  return made;
}
