/**
 * The first fields of a message, encoded once for messages that begin alike. What these fields have out of line is at the
 * message's start, and their notes are the first ones; so both are copied, and only the rest of the message is encoded.
 */
export class Prefix {
  /** How many fields of the message belong to it. */
  readonly fields: number;
  /** Null until a message was encoded with it. */
  encoded: EncodedPrefix | null = null;

  constructor(fields: number) {
    this.fields = fields;
  }
}

/** What the first message left. */
export interface EncodedPrefix {
  /** Where that message began in its scratch; the notes count from there. */
  readonly start: number;
  readonly bytes: Uint8Array;
  readonly notes: Int32Array;
}
