/** A Worker that loads the addon, traps on its thread and off it, and ends. */
import { Misbehave } from '../guests.ts';

const guest = new Misbehave();
guest.call();
for (let count = 0; count < 20; count++) guest.trap();
await guest.callElsewhere();
await guest.callElsewhere('read-outside').catch(() => {});
