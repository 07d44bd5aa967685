/** JavaScript takes the signal that guests trap by: the runtime's health says so before anything happens. */
import { Misbehave } from '../guests.ts';

const { runtime } = new Misbehave();
const tell = () => console.log(JSON.stringify(runtime.health()));
tell();
process.on('SIGSEGV', () => {});
tell();
