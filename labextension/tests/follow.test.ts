import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Follower } from '../src/lab/follow';
import { HandWire, Heard, part, prices, push, state } from './kit';
import { IPod, Refused } from '../src/panel/contract';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const settled = () => vi.advanceTimersByTimeAsync(0);

async function following(answers: HandWire['answers'], hidden = () => false) {
  const [wire, heard] = [new HandWire(), new Heard()];
  wire.answers = answers;
  const follower = new Follower(wire, hidden);
  const stop = follower.start(heard);
  await settled();
  return { wire, heard, follower, stop };
}

describe('the follower', () => {
  it('begins with the whole state and goes on with pushes', async () => {
    const { wire, heard } = await following({ state: [() => state(4)] });
    wire.slot?.(push(5));
    expect(heard.states.map(each => each.revision)).toEqual([4]);
    expect(heard.pushed.map(each => each.revision)).toEqual([5]);
    expect(heard.links.at(-1)).toBe('live');
  });

  it('asks for the whole state after a gap, and after the server was started anew', async () => {
    const { wire, heard } = await following({ state: [() => state(4), () => state(9), () => state(1)] });
    wire.slot?.(push(9));
    await settled();
    wire.slot?.(push(1));
    await settled();
    expect(heard.states.map(each => each.revision)).toEqual([4, 9, 1]);
    expect(heard.pushed).toEqual([]);
  });

  it('asks for prices only while somebody looks at them, and again when they have changed', async () => {
    const { wire, follower, heard } = await following({ state: [() => state(1)], prices: [() => prices(1), () => prices(2)] });
    wire.slot?.(push(2, 1));
    await settled();
    expect(heard.priced).toEqual([]);
    follower.look({ parts: ['prices'], gpus: [] });
    await settled();
    wire.slot?.(push(3, 2));
    await settled();
    wire.slot?.(push(4, 2));
    await settled();
    expect(heard.priced.map(each => each.revision)).toEqual([1, 2]);
  });

  it('tries again ever less often when the server is silent, and not at all while the page is hidden', async () => {
    let hidden = false;
    const { wire, heard } = await following({}, () => hidden);
    expect(heard.links).toEqual(['offline']);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(wire.gets.length).toBe(4);
    hidden = true;
    await vi.advanceTimersByTimeAsync(600_000);
    expect(wire.gets.length).toBe(4);
    hidden = false;
    wire.answers = { state: [() => state(1)] };
    await vi.advanceTimersByTimeAsync(60_000);
    expect(heard.links.at(-1)).toBe('live');
  });

  it('tells a missing server extension from one that refuses, and both from silence', async () => {
    const failing = (status: number) => ({
      state: [
        () => {
          throw new Refused({ message: 'no' }, status);
        }
      ]
    });
    expect((await following(failing(404))).heard.links).toEqual(['missing']);
    expect((await following(failing(403))).heard.links).toEqual(['forbidden']);
    expect((await following(failing(500))).heard.links).toEqual(['offline']);
  });

  it('takes a push that makes no sense for a gap', async () => {
    const { wire, heard } = await following({ state: [() => state(4), () => state(6)] });
    wire.slot?.({ ...push(NaN), prices_revision: NaN });
    await settled();
    expect(heard.states.map(each => each.revision)).toEqual([4, 6]);
  });

  it('asks again soon while the server itself is still asking, pushes or not', async () => {
    const { wire, heard } = await following({ state: [() => state(1, { pods: part<IPod>(null) }), () => state(2)] });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(heard.states.map(each => each.revision)).toEqual([1, 2]);
    expect(wire.gets).toHaveLength(2);
  });

  it('delivers nothing after its end', async () => {
    const { wire, heard, stop } = await following({ state: [() => state(1)] });
    stop();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(wire.slot).toBeNull();
    expect(heard.states).toHaveLength(1);
  });
});
