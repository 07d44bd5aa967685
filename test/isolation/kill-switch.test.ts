import { expect, it } from 'vitest';
import { KillSwitches } from '../../src/isolation/kill-switch.ts';
import { SlotKey } from '../../src/slot-key.ts';

const key = new SlotKey('a', 'p');

it('KillSwitch disables a key by value until it is enabled', () => {
  const switches = new KillSwitches();
  expect(switches.engaged).toBe(false);
  switches.disable(key, 'why');
  expect(switches.engaged).toBe(true);
  expect(switches.reason(new SlotKey('a', 'p'))).toBe('why');
  expect(switches.reason(new SlotKey('b', 'p'))).toBeUndefined();
  switches.disable(key, 'another reason');
  expect(switches.entries()).toEqual([[key, 'another reason']]);
  expect(switches.enable(new SlotKey('a', 'p'))).toBe(true);
  expect(switches.enable(key)).toBe(false);
  expect(switches.engaged).toBe(false);
});

it('KillSwitch accepts an empty reason', () => {
  const switches = new KillSwitches();
  switches.disable(key, '');
  expect(switches.reason(key)).toBe('');
});
