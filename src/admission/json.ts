/** Text that is not the JSON it should be. */
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
 * Reads JSON value by value as its caller expects them. `JSON.parse` will not do where it matters that a key stands
 * twice, or that a number was written `1.0`. The strictness is serde_json's: a value that is skipped only has to be
 * well-formed, may nest without limit, and may escape half a surrogate pair; a string that is read may not.
 */
export class JsonReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Reads an object; `member` must read or skip the value behind each key. */
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

  /** Reads an integer that fits in a byte and is written as one: neither `1.0` nor `1e0` is. */
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

  /** Passes over a value of any kind and returns its text. */
  skip(what: string): string {
    this.#peek();
    const start = this.#at;
    /** What closes the arrays and objects that stand open, innermost last; a list, because nesting has no limit. */
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

  /** Makes sure that nothing but white space is left. */
  end(): void {
    if (this.#peek() !== '') throw this.#error('expected the end');
  }

  /** Passes over a scalar, an empty list, or the beginnings of lists up to their first scalar. */
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

  /** The character after white space, `''` at the end. */
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

  /** The string that begins here; `strict` where its value counts. */
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
        // The empty string, the end, is smaller too.
        throw this.#error(char === '' ? 'unterminated string' : 'control character in a string');
      } else {
        this.#at++;
      }
    }
  }

  /** What the escape behind a backslash stands for. */
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

  /** The code unit of `uXXXX`. */
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
