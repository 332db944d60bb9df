import { describe, expect, it, vi } from 'vitest';
import { allowDesktop, ended, watchCells } from '../src/lab/notify';
import { plain } from '../src/panel/text';
import { HandTransport, job, part, state } from './kit';
import { Store } from '../src/panel/store';
import { Kernel } from '../src/widget/kernel';
import { loads, toggled } from '../src/lab/magic';
import { BORROW, IBorrow } from '../src/panel/borrow';
import { Refused } from '../src/panel/contract';

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
    const one = (id: string, ended: string | null, seconds: number | null) => job({ id, ended, seconds });
    const before = [one('long', null, null), one('short', null, null), one('old', 'z', 900)];
    const after = [one('long', 'z', 61), one('short', 'z', 3), one('old', 'z', 900), one('new', 'z', 99)];
    expect(ended(before, after, 60).map(each => each.id)).toEqual(['long']);
    expect(ended(after, after, 60)).toEqual([]);
  });
});

describe('the desktop', () => {
  class Desk {
    static permission = 'default';
    static asked = 0;
    static shown: string[] = [];
    static broken = false;
    static requestPermission = async () => ((Desk.asked += 1), Desk.permission);
    constructor(title: string, options: { body: string }) {
      if (Desk.broken) {
        throw new TypeError('Illegal constructor');
      }
      Desk.shown.push(`${title}: ${options.body}`);
    }
  }

  const told = (permission: string, hidden: boolean, broken = false) => {
    Object.assign(Desk, { permission, asked: 0, shown: [], broken });
    vi.stubGlobal('window', { Notification: Desk });
    vi.stubGlobal('document', { hidden });
    const [store, inPage] = [new Store(new HandTransport()), [] as string[]];
    watchCells(store, { notifyAfterSeconds: 60 }, plain, words => void inPage.push(words));
    store.state(state(1, { jobs: part([job()]) }));
    store.state(state(2, { jobs: part([job({ ended: 'z', seconds: 61, state: 'ok', cost_usd: '0.004600' })]) }));
    vi.unstubAllGlobals();
    return { desktop: Desk.shown.length, page: inPage.length, asked: Desk.asked };
  };

  it('is told of the end of a long cell only where that was allowed, and else the page is; nobody is asked by the way', () => {
    expect(told('granted', true)).toEqual({ desktop: 1, page: 0, asked: 0 });
    expect(told('granted', false)).toEqual({ desktop: 0, page: 1, asked: 0 });
    expect(told('denied', true)).toEqual({ desktop: 0, page: 1, asked: 0 });
    expect(told('default', true)).toEqual({ desktop: 0, page: 1, asked: 0 });
    expect(told('granted', true, true)).toEqual({ desktop: 0, page: 1, asked: 0 });
  });

  it('is asked about when the person asks for it, and a no is said', async () => {
    for (const [permission, words] of [['granted', 'on the desktop'], ['denied', 'does not allow it']]) {
      Object.assign(Desk, { permission, asked: 0 });
      vi.stubGlobal('window', { Notification: Desk });
      expect(await allowDesktop(plain)).toContain(words);
      expect(Desk.asked).toBe(1);
      vi.stubGlobal('window', {});
      expect(await allowDesktop(plain)).toContain('does not allow it');
      vi.unstubAllGlobals();
    }
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

describe('the panel in a notebook', () => {
  it('takes its first state for a saved one, and the next for what is true now', () => {
    const model = new HandModel();
    const kernel = new Kernel(model, new EventTarget() as HTMLElement);
    const store = new Store(kernel);
    expect(store.view.parts).toBeNull();
    const old = { ...state(3), now: '2026-11-24T14:05:00.000Z' };
    model.get = name => (name === 'state' ? JSON.stringify(old) : '');
    const reopened = new Store(new Kernel(model, new EventTarget() as HTMLElement));
    expect(reopened.view.saved).toBe(Date.UTC(2026, 10, 24, 14, 5));
    expect(reopened.view.skew).toBe(0);
    model.get = name => (name === 'state' ? JSON.stringify(state(4)) : '');
    model.slots.get('change:state')?.(undefined);
    expect(reopened.view.saved).toBeNull();
    expect(reopened.view.revision).toBe(4);
  });
});

describe('a kernel that is busy', () => {
  const links: string[] = [];
  const heard = { ...sink, link: (link: string) => void links.push(link) };

  it('is live while its state goes on, and is said to be silent when that stops', async () => {
    vi.useFakeTimers();
    links.length = 0;
    const model = new HandModel();
    model.get = name => (name === 'state' ? JSON.stringify(state(1)) : '');
    const kernel = new Kernel(model, new EventTarget() as HTMLElement);
    kernel.start(heard);
    kernel.look({ parts: ['pods'], gpus: [] });
    await vi.advanceTimersByTimeAsync(6000);
    expect(links.at(-1)).toBe('waiting');
    model.slots.get('change:state')?.(undefined);
    kernel.look({ parts: ['pods'], gpus: [] });
    await vi.advanceTimersByTimeAsync(6000);
    expect(links.at(-1)).toBe('live');
    await vi.advanceTimersByTimeAsync(40_000);
    kernel.look({ parts: ['pods'], gpus: [] });
    await vi.advanceTimersByTimeAsync(6000);
    expect(links.at(-1)).toBe('waiting');
    vi.useRealTimers();
  });

  it("is interrupted by nbclassic's page where it runs the cell, and only there", async () => {
    const [model, pressed] = [new HandModel(), vi.fn()];
    model.get = () => JSON.stringify({ jobs: { items: [job()] } });
    const kernel = new Kernel(model, new EventTarget() as HTMLElement);
    vi.stubGlobal('Jupyter', { notebook: { kernel: { id: 'k1', interrupt: pressed } } });
    expect(await kernel.ask('actions/cancel', { job: 'j1' })).toEqual({});
    expect(pressed).toHaveBeenCalledOnce();
    vi.stubGlobal('Jupyter', { notebook: { kernel: { id: 'k2', interrupt: pressed } } });
    void kernel.ask('actions/cancel', { job: 'j1' });
    await vi.waitFor(() => expect(model.sent).toHaveLength(1));
    expect(pressed).toHaveBeenCalledOnce();
    vi.unstubAllGlobals();
  });
});

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
    model.get = () => JSON.stringify({ jobs: { items: [job()] } });
    element.addEventListener(BORROW, event => {
      asked.push((event as CustomEvent<IBorrow>).detail.job?.kernel ?? null);
      (event as CustomEvent<IBorrow>).detail.take(Promise.resolve({}));
    });
    const kernel = new Kernel(model, element as HTMLElement);
    await kernel.ask('actions/cancel', { job: 'j1' });
    await kernel.ask('actions/cancel', { job: 'j2' });
    expect(asked).toEqual(['k1', null]);
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
