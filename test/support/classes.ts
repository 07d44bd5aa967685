/** Returns an object of a class whose fields are getters on the prototype: a spread does not copy them. */
export function instanceWithGetters<T extends object>(fields: T): T {
  class Caller {}
  for (const [name, value] of Object.entries(fields))
    Object.defineProperty(Caller.prototype, name, { get: () => value });
  return new Caller() as T;
}
