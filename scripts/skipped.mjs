/**
 * Reports that a check is skipped, and why. Returns true if skipping is allowed. CC_LB_NO_SKIPS=1, which the workflows
 * set, disallows it.
 */
export function skipped(why) {
  console.warn(`SKIPPED: ${why}`);
  return process.env.CC_LB_NO_SKIPS !== '1';
}
