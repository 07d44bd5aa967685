/** Callers' objects that are instances of a class: their fields are getters on the prototype, which a spread leaves out. */
export function instanceWithGetters<T extends object>(fields: T): T {
  class Caller {}
  for (const [name, value] of Object.entries(fields))
    Object.defineProperty(Caller.prototype, name, { get: () => value });
  return new Caller() as T;
}
