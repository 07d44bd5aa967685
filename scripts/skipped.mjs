/**
 * Says that a check was left out here, and why. True if that will do: with CC_LB_NO_SKIPS=1, as the workflows set it, it
 * will not.
 */
export function skipped(why) {
  console.warn(`SKIPPED: ${why}`);
  return process.env.CC_LB_NO_SKIPS !== '1';
}
