import { describe, expect, it, vi } from 'vitest';
import { ended } from '../src/lab/notify';
import { IJob } from '../src/panel/contract';
import { Kernel } from '../src/widget/kernel';
import { loads, toggled } from '../src/lab/magic';
import { BORROW, IBorrow } from '../src/panel/borrow';
import { Refused } from '../src/panel/contract';

const job = (id: string, end: string | null, seconds: number | null): IJob => ({
  id,
  pod: null,
  notebook: null,
  started: null,
  ended: end,
  seconds,
  state: 'ok',
  cost_usd: null,
  simulated: true,
  may: {}
});

describe('the toolbar button', () => {
  it('adds the magic on the first line and takes it away again, and nothing else', () => {
    const source = 'x = 1\nprint(x)';
    expect(toggled(source, '--gpu H100')).toBe(`%%remote_gpu --gpu H100\n${source}`);
    expect(toggled(toggled(source, ''), '')).toBe(source);
    expect(toggled('%%gpu -n\nx', '')).toBe('x');
    expect(toggled('%%remote_gpu', '')).toBe('');
    expect(toggled('%%remote_gpus\nx', '')).toBe('%%remote_gpu\n%%remote_gpus\nx');
  });

  it('knows a notebook that loads the extension', () => {
    expect(loads(['import x', 'y\n%load_ext gpuplug'])).toBe(true);
    expect(loads(['# %load_ext gpuplug', '%load_ext gpuplugs'])).toBe(false);
  });
});

describe('the news of a long cell', () => {
  it('comes once, when it has ended, and not of a short one or one that ended before', () => {
    const before = [job('long', null, null), job('short', null, null), job('old', 'z', 900)];
    const after = [job('long', 'z', 61), job('short', 'z', 3), job('old', 'z', 900), job('new', 'z', 99)];
    expect(ended(before, after, 60).map(each => each.id)).toEqual(['long']);
    expect(ended(after, after, 60)).toEqual([]);
  });
});

class HandModel {
  slots = new Map<string, (value: unknown) => void>();
  sent: { request: number; route: string; body: object }[] = [];
  get: (name: string) => unknown = () => '';
  on = (name: string, slot: (...values: never[]) => void) => void this.slots.set(name, slot as (value: unknown) => void);
  off = (name: string) => void this.slots.delete(name);
  send = (content: unknown) => void this.sent.push(content as { request: number; route: string; body: object });
  answer = (content: object) => this.slots.get('msg:custom')?.(content);
}

const sink = { state: () => undefined, push: () => undefined, prices: () => undefined, link: () => undefined };

describe('an action of the panel in a notebook', () => {
  it('is said to wait when the kernel has not taken it within a second', async () => {
    vi.useFakeTimers();
    const [model, waiting] = [new HandModel(), vi.fn()];
    const kernel = new Kernel(model, new EventTarget() as HTMLElement);
    kernel.start(sink);
    const late = kernel.ask('actions/stop', {}, waiting);
    await vi.advanceTimersByTimeAsync(1500);
    expect(waiting).toHaveBeenCalledOnce();
    model.answer({ request: model.sent[0].request, taken: true });
    model.answer({ request: model.sent[0].request, status: 202, body: { operation: '1' } });
    expect(await late).toEqual({ operation: '1' });
    const quick = kernel.ask('actions/stop', {}, waiting);
    await vi.advanceTimersByTimeAsync(0);
    model.answer({ request: model.sent[1].request, taken: true });
    await vi.advanceTimersByTimeAsync(5000);
    model.answer({ request: model.sent[1].request, status: 409, body: { message: 'it is gone' } });
    await expect(quick).rejects.toMatchObject({ status: 409, refusal: { message: 'it is gone' } });
    expect(waiting).toHaveBeenCalledOnce();
    vi.useRealTimers();
  });

  const around = (answer: () => Promise<unknown>) => {
    const element = new EventTarget();
    element.addEventListener(BORROW, event => (event as CustomEvent).detail.take(answer()));
    return element as HTMLElement;
  };

  it('goes by the server where JupyterLab is around it, so that a busy kernel cannot hold it up', async () => {
    const model = new HandModel();
    const kernel = new Kernel(model, around(async () => ({ operation: '7' })));
    expect(await kernel.ask('actions/destroy', { id: 'gp-1' })).toEqual({ operation: '7' });
    expect(model.sent).toEqual([]);
  });

  it('names whose cell it cancels, so that the page can interrupt that kernel without the server', async () => {
    const [model, element, asked] = [new HandModel(), new EventTarget(), [] as (string | null)[]];
    model.get = () => JSON.stringify({ jobs: { items: [{ id: 'j1', notebook: 'train-0123abcd' }] } });
    element.addEventListener(BORROW, event => {
      asked.push((event as CustomEvent<IBorrow>).detail.notebook);
      (event as CustomEvent<IBorrow>).detail.take(Promise.resolve({}));
    });
    const kernel = new Kernel(model, element as HTMLElement);
    await kernel.ask('actions/cancel', { job: 'j1' });
    await kernel.ask('actions/cancel', { job: 'j2' });
    expect(asked).toEqual(['train-0123abcd', null]);
  });

  it('goes to the kernel when the server does not know of it, and not a second time when the server refused it', async () => {
    const model = new HandModel();
    const lost = new Kernel(model, around(() => Promise.reject(new Refused({ message: 'no such id' }, 404))));
    lost.start(sink);
    const asked = lost.ask('actions/destroy', {});
    await vi.waitFor(() => expect(model.sent).toHaveLength(1));
    model.answer({ request: model.sent[0].request, status: 202, body: {} });
    await asked;
    const refused = new Kernel(model, around(() => Promise.reject(new Refused({ message: 'budget' }, 402))));
    await expect(refused.ask('actions/rent', {})).rejects.toMatchObject({ status: 402 });
    expect(model.sent).toHaveLength(1);
  });
});
