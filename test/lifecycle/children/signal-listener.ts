/** JavaScript takes a signal: the runtime's health says so if guests trap by it. */
import { Misbehave } from '../guests.ts';

const { runtime } = new Misbehave();
const printHealth = () => console.log(JSON.stringify(runtime.health()));
printHealth();
process.on(process.argv[2]!, () => {});
printHealth();
