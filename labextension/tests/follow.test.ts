import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Follower } from '../src/lab/follow';
import { isNamed } from '../src/panel/cancel';
import { HandWire, Heard, part, prices, push, state } from './kit';
import { IJob, IPod, Refused } from '../src/panel/contract';

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

describe('Cancel', () => {
  const job = { id: 'j1', notebook: 'train-0123abcd' } as IJob;
  const pressed = async (refusal: unknown, jobs: IJob[] = [job]) => {
    const { wire, follower } = await following({ state: [() => state(1, { jobs: part(jobs) })] });
    wire.refusal = refusal;
    const answer = follower.ask('actions/cancel', { job: 'j1' });
    return { wire, said: await answer.then(() => 'cancelled').catch((error: Refused) => error.refusal.hint ?? error.message) };
  };
  const html = (status: number) => new Refused({ message: `${status}` }, status);

  it('interrupts the kernel itself where the server is missing, ill or out of reach', async () => {
    for (const refusal of [html(404), html(500), new TypeError('offline'), new Refused({ message: 'no', reason: 'ledger' }, 503)]) {
      const { wire, said } = await pressed(refusal);
      expect(wire.interrupted).toEqual(['train-0123abcd']);
      expect(said).toBe('cancelled');
    }
  });

  it('leaves the kernel alone where the server has cancelled, or has said no', async () => {
    for (const refusal of [null, new Refused({ message: 'no such job runs', reason: 'gone' }, 404)]) {
      const { wire, said } = await pressed(refusal);
      expect(wire.interrupted).toEqual([]);
      expect(said).toBe(refusal ? 'no such job runs' : 'cancelled');
    }
  });

  it('guesses no kernel: one that is not found, or a job that is not known, is said', async () => {
    const hint = 'interrupt the kernel in its notebook';
    expect((await pressed(html(500), [{ ...job, notebook: 'other-0123abcd' }])).said).toBe(hint);
    const unknown = await pressed(html(500), []);
    expect(unknown.said).toBe(hint);
    expect(unknown.wire.interrupted).toEqual([]);
  });

  it('knows a notebook by the name that the ledger gives it', () => {
    expect(isNamed('work/train.ipynb', 'train-0123abcd')).toBe(true);
    expect(isNamed('a.b.ipynb', 'a.b-0123abcd')).toBe(true);
    expect(isNamed(`${'x'.repeat(50)}.ipynb`, `${'x'.repeat(40)}-0123abcd`)).toBe(true);
    expect(isNamed('work/train2.ipynb', 'train-0123abcd')).toBe(false);
    expect(isNamed('train-0123abcd.ipynb', 'train-0123abcd')).toBe(false);
  });
});
