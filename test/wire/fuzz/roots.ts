/** Every root type of every published wire crate, by the names that the oracle uses. */
import {
  filterRequestBase,
  filterRequestPriced,
  filterRequestTiered,
  filterResponse,
} from '../../../src/wire/messages/filter.ts';
import { observeEvent } from '../../../src/wire/messages/observe.ts';
import { shapeRequest, shapeResponse } from '../../../src/wire/messages/shape.ts';
import {
  transformResponseRequest,
  transformResponseResult,
  transformSseEventRequest,
  transformSseEventResult,
} from '../../../src/wire/messages/transform.ts';
import type { Message } from '../../../src/wire/rkyv.ts';

/** A root type of one wire crate. */
export interface Root {
  readonly wire: string;
  readonly message: Message<unknown>;
}

const shape: readonly Message<unknown>[] = [shapeRequest, shapeResponse];
const transforms: readonly Message<unknown>[] = [
  transformResponseRequest,
  transformResponseResult,
  transformSseEventRequest,
  transformSseEventResult,
];
const crates: readonly (readonly [wire: string, messages: readonly Message<unknown>[]])[] = [
  ['0.2.0', [filterRequestBase, filterResponse, ...shape, observeEvent]],
  ['0.6.1', [filterRequestPriced, filterResponse, ...shape, observeEvent, ...transforms]],
  ['0.8.0', [filterRequestTiered, filterResponse, ...shape, observeEvent, ...transforms]],
  ['0.9.0', [filterRequestTiered, filterResponse, ...shape, ...transforms]],
];

/** The root types in the order of the oracle: the index is the number in its protocol. */
export const ROOTS: readonly Root[] = crates.flatMap(([wire, messages]) =>
  messages.map((message) => ({ wire, message })),
);
