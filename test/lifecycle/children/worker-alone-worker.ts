/** A Worker that loads the addon, traps inline and off-thread, and ends. */
import { Misbehave } from '../guests.ts';

const guest = new Misbehave();
guest.call();
for (let count = 0; count < 20; count++) guest.trap();
await guest.callOffThread();
await guest.callOffThread('read-outside').catch(() => {});
