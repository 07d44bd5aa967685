/** A request that is answered with an error of the client's own making. */
export class Refusal extends Error {
  readonly status: number;
  /** The `type` of the error as the Anthropic API names it. */
  readonly type: string;

  constructor(status: number, type: string, message: string) {
    super(message);
    this.name = 'Refusal';
    this.status = status;
    this.type = type;
  }
}
