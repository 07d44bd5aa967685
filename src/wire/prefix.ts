/**
 * The first fields of a message, encoded once for messages whose first fields are equal. Their out-of-line data is at
 * the start of the message, and their notes are the first ones, so both are copied and only the rest of the message is
 * encoded.
 */
export class Prefix {
  /** The number of fields of the prefix. */
  readonly fields: number;
  /** Null until a message is encoded with the prefix. */
  encoded: EncodedPrefix | null = null;

  constructor(fields: number) {
    this.fields = fields;
  }
}

/** The encoded prefix of the first message. */
export interface EncodedPrefix {
  /** The start of that message in its scratch buffer, to which the notes are relative. */
  readonly start: number;
  readonly bytes: Uint8Array;
  readonly notes: Int32Array;
}
