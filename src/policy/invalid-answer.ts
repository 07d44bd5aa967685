/** The rule of the contract that an answer breaks. */
export type AnswerRule =
  | 'size'
  | 'upstream_id'
  | 'max_headers'
  | 'url'
  | 'origin'
  | 'method'
  | 'status'
  | 'event_type'
  | 'header_value_size'
  | 'header_name'
  | 'header_value';

/**
 * A plugin's answer breaks a rule of the contract. The adapters catch it and wrap it in the error of their hook, so it
 * never reaches a caller by itself.
 */
export class InvalidAnswerError extends Error {
  readonly rule: AnswerRule;
  constructor(rule: AnswerRule, message: string) {
    super(message);
    this.name = 'InvalidAnswerError';
    this.rule = rule;
  }
}
