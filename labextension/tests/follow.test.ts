import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Follower } from '../src/lab/follow';
import { pushOf } from '../src/lab/push';
import { runs } from '../src/panel/cancel';
import { HandWire, Heard, job, part, prices, push, state } from './kit';
import { plain } from '../src/panel/text';
import { IJob, IPod, Refused } from '../src/panel/contract';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const settled = () => vi.advanceTimersByTimeAsync(0);

async function following(answers: HandWire['answers'], hidden = () => false) {
  const [wire, heard] = [new HandWire(), new Heard()];
  wire.answers = answers;
  const follower = new Follower(wire, plain, hidden);
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

  it('takes an emission that is truncated or HTML for a gap, and passes over those of others', async () => {
    const whole = { schema_id: 'https://events.gpuplug.dev/panel/v1', revision: 5, now: '2026-11-25T14:00:00.000Z', prices_revision: 1 };
    const parts = JSON.stringify({ pods: part([]) });
    expect(pushOf({ ...whole, parts })).toMatchObject({ revision: 5, prices_revision: 1, parts: { pods: { items: [] } } });
    expect(pushOf({ ...whole, parts, schema_id: 'https://events.jupyter.org/x' })).toBeNull();
    for (const broken of [parts.slice(0, 40), '<html>504</html>', '', 'null', undefined, '7']) {
      const { wire, heard } = await following({ state: [() => state(4), () => state(6)] });
      wire.slot?.(pushOf({ ...whole, parts: broken })!);
      await settled();
      expect(heard.states.map(each => each.revision)).toEqual([4, 6]);
      expect(heard.pushed).toEqual([]);
    }
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
  const withJobs = async (jobs: IJob[]) => following({ state: [() => state(1, { jobs: part(jobs) })] });
  const told = (answer: Promise<unknown>) =>
    answer.then(() => 'cancelled').catch((error: Refused) => error.refusal.hint ?? error.message);
  const pressed = async (refusal: unknown, jobs: IJob[] = [job()]) => {
    const { wire, follower } = await withJobs(jobs);
    wire.refusal = refusal;
    return { wire, said: await told(follower.ask('actions/cancel', { job: 'j1' })) };
  };
  const html = (status: number) => new Refused({ message: `${status}` }, status);

  it('interrupts the kernel itself where the server is missing, ill or out of reach', async () => {
    for (const refusal of [html(404), html(500), new TypeError('offline'), new Refused({ message: 'no', reason: 'ledger' }, 503)]) {
      const { wire, said } = await pressed(refusal);
      expect(wire.interrupted).toEqual(['j1']);
      expect(said).toBe('cancelled');
    }
  });

  it('interrupts the kernel itself where the server takes it and does not answer, and breaks off what it gave up', async () => {
    const { wire, follower } = await withJobs([job()]);
    wire.silent = true;
    const answer = told(follower.ask('actions/cancel', { job: 'j1' }));
    await vi.advanceTimersByTimeAsync(3000);
    expect(wire.interrupted).toEqual([]);
    await vi.advanceTimersByTimeAsync(2000);
    expect(wire.interrupted).toEqual(['j1']);
    expect(await answer).toBe('cancelled');
  });

  it('says so when the kernel cannot be interrupted in time either', async () => {
    const { wire, follower } = await withJobs([job()]);
    wire.refusal = new TypeError('offline');
    wire.interrupt = () => new Promise(() => undefined);
    const answer = told(follower.ask('actions/cancel', { job: 'j1' }));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await answer).toBe('interrupt the kernel in its notebook');
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
    expect((await pressed(html(500), [job({ kernel: 'k2' })])).said).toBe(hint);
    const unknown = await pressed(html(500), []);
    expect(unknown.said).toBe(hint);
    expect(unknown.wire.interrupted).toEqual([]);
  });

  it('knows a kernel by its id, whatever its notebook is called by now, else by the path of its notebook, never by a name', () => {
    expect(runs('k1', 'renamed.ipynb', job())).toBe(true);
    expect(runs('k2', 'work/train.ipynb', job())).toBe(false);
    const kernelless = job({ kernel: null });
    expect(runs('k2', 'work/train.ipynb', kernelless)).toBe(true);
    expect(runs('k2', 'other/train.ipynb', kernelless)).toBe(false);
    expect(runs('k2', '', job({ kernel: null, path: null }))).toBe(false);
  });
});
