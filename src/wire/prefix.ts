/**
 * The first field of a message, encoded once for messages whose first fields are equal. Its out-of-line data is at the
 * start of the message, and its notes are the first ones, so both are copied and only the rest of the message is encoded.
 */
export interface Prefix {
  /** Null until a message is encoded with the prefix. */
  encoded: EncodedPrefix | null;
}

/** The encoded prefix of the first message. */
export interface EncodedPrefix {
  /** The start of that message in its scratch buffer, to which the notes are relative. */
  readonly start: number;
  readonly bytes: Uint8Array;
  readonly notes: Int32Array;
}
