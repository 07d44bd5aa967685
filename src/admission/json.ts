/** The text is not valid JSON, or not of the expected structure. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;
const HEX = /^[0-9a-fA-F]{4}$/;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/**
 * Reads JSON value by value, as its caller expects them. Unlike `JSON.parse`, it detects duplicate keys and numbers
 * that are written as `1.0`. It is as strict as serde_json: a skipped value must only be well-formed, may nest without
 * limit, and may contain an escaped lone surrogate; a string that is read may not.
 */
export class JsonReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Reads an object; `member` must read or skip the value of each key. */
  object(what: string, member: (key: string) => void): void {
    this.#expect('{', `${what}: expected an object`);
    if (this.#take('}')) return;
    do {
      const key = this.string(`${what}: expected a key`);
      this.#expect(':', `${what}: expected a colon after the key`);
      member(key);
    } while (this.#take(','));
    this.#expect('}', `${what}: expected a comma or the end of the object`);
  }

  /** Reads a string. */
  string(what: string): string {
    if (this.#peek() !== '"') throw this.#error(what);
    return this.#string(true);
  }

  /** Reads an integer from 0 to 255 that is written as an integer, not as `1.0` or `1e0`. */
  byte(what: string): number {
    this.#peek();
    const match = this.#number();
    if (match === null || match[1] !== undefined || match[2] !== undefined || match[0].startsWith('-')) {
      throw this.#error(what);
    }
    const value = Number(match[0]);
    if (value > 255) throw this.#error(what);
    return value;
  }

  /** Skips a value of any type and returns its text. */
  skip(what: string): string {
    this.#peek();
    const start = this.#at;
    /** The closing characters of the open arrays and objects, innermost last. A list, because nesting has no limit. */
    const open: string[] = [];
    do {
      this.#skipStart(what, open);
      while (open.length > 0 && this.#take(open.at(-1)!)) open.pop();
      if (open.length > 0) {
        this.#expect(',', `${what}: expected a comma or the end of the list`);
        if (open.at(-1) === '}') this.#skipKey(what);
      }
    } while (open.length > 0);
    return this.#text.slice(start, this.#at);
  }

  /** Checks that only white space is left. */
  end(): void {
    if (this.#peek() !== '') throw this.#error('expected the end');
  }

  /** Skips a scalar, an empty list, or the start of lists up to their first scalar. */
  #skipStart(what: string, open: string[]): void {
    for (;;) {
      if (this.#take('[')) {
        if (this.#take(']')) return;
        open.push(']');
      } else if (this.#take('{')) {
        if (this.#take('}')) return;
        open.push('}');
        this.#skipKey(what);
      } else {
        this.#skipScalar(what);
        return;
      }
    }
  }

  #skipKey(what: string): void {
    if (this.#peek() !== '"') throw this.#error(`${what}: expected a key`);
    this.#string(false);
    this.#expect(':', `${what}: expected a colon after the key`);
  }

  #skipScalar(what: string): void {
    if (this.#peek() === '"') {
      this.#string(false);
      return;
    }
    for (const word of ['null', 'true', 'false']) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return;
      }
    }
    if (this.#number() === null) throw this.#error(`${what}: expected a value`);
  }

  /** Returns the character after white space; `''` at the end. */
  #peek(): string {
    SPACE.lastIndex = this.#at;
    SPACE.test(this.#text);
    this.#at = SPACE.lastIndex;
    return this.#text.charAt(this.#at);
  }

  #take(char: string): boolean {
    if (this.#peek() !== char) return false;
    this.#at++;
    return true;
  }

  #expect(char: string, problem: string): void {
    if (!this.#take(char)) throw this.#error(problem);
  }

  #number(): RegExpExecArray | null {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text);
    if (match !== null) this.#at = NUMBER.lastIndex;
    return match;
  }

  /** Reads the string that starts here; `strict` if its value is used. */
  #string(strict: boolean): string {
    let value = '';
    this.#at++;
    for (let from = this.#at; ; ) {
      const char = this.#text.charAt(this.#at);
      if (char === '"') {
        value += this.#text.slice(from, this.#at);
        this.#at++;
        return value;
      }
      if (char === '\\') {
        value += this.#text.slice(from, this.#at);
        this.#at++;
        value += this.#escape(strict);
        from = this.#at;
      } else if (char < ' ') {
        // Also true for the empty string, which means the end.
        throw this.#error(char === '' ? 'unterminated string' : 'control character in a string');
      } else {
        this.#at++;
      }
    }
  }

  /** Returns the character of the escape after a backslash. */
  #escape(strict: boolean): string {
    const char = this.#text.charAt(this.#at);
    const short = ESCAPES[char];
    if (short !== undefined) {
      this.#at++;
      return short;
    }
    if (char !== 'u') throw this.#error('unknown escape in a string');
    const unit = this.#unit();
    if (!strict || unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    if (unit < 0xdc00 && this.#text.startsWith('\\u', this.#at)) {
      this.#at++;
      const low = this.#unit();
      if (low >= 0xdc00 && low <= 0xdfff) return String.fromCharCode(unit, low);
    }
    throw this.#error('escaped lone surrogate in a string');
  }

  /** Returns the code unit of `uXXXX`. */
  #unit(): number {
    const digits = this.#text.slice(this.#at + 1, this.#at + 5);
    if (!HEX.test(digits)) throw this.#error('escape without four hexadecimal digits');
    this.#at += 5;
    return Number.parseInt(digits, 16);
  }

  #error(problem: string): JsonError {
    return new JsonError(`${problem} (at character ${this.#at})`);
  }
}
