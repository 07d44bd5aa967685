/** Returns the paths of the files that `npm publish` would pack, relative to the root of the package. */
export function packedFiles(): string[];
