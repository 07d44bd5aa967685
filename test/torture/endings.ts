/** The ways in which a Worker ends. */
export const ENDINGS = [
  'return',
  'return with calls in flight',
  'exit with calls in flight',
  'throw with calls in flight',
  'terminated while idle',
  'terminated in a guest',
  'terminated with calls in flight',
  'terminated while compiling',
] as const;
export type Ending = (typeof ENDINGS)[number];
