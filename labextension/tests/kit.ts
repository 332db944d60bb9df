/** States, offers and a server that is moved by hand. */
import { IJob, IOffer, IPart, IPod, IPrices, IPush, ISink, IState, ILook, ITransport, Link } from '../src/panel/contract';
import { IWire } from '../src/lab/follow';

const AT = '2026-11-25T14:00:00.000Z';

export const part = <T>(items: T[] | null, some: Partial<IPart<T>> = {}): IPart<T> => ({
  at: AT,
  stale_after_s: 60,
  loading: false,
  error: null,
  items,
  ...some
});

export const state = (revision: number, some: Partial<IState> = {}): IState => ({
  version: 1,
  now: new Date().toISOString(),
  source: 'server',
  revision,
  platforms: part([]),
  pods: part<IPod>([]),
  jobs: part([]),
  spend: { ...part([]), figures: null },
  alerts: part([]),
  operations: part([]),
  ...some
});

export const push = (revision: number, prices = 0): IPush => ({
  revision,
  now: new Date().toISOString(),
  parts: {},
  prices_revision: prices
});

export const offer = (some: Partial<IOffer> = {}): IOffer => ({
  id: 'vast/1',
  platform: 'vast',
  gpu: 'RTX 4090',
  gpu_count: 1,
  vram_gb: 24,
  usd_per_hour: '0.310000',
  disk_usd_per_hour: null,
  sent_usd_per_gb: null,
  reliability: 0.99,
  down_mbps: 500,
  up_mbps: 100,
  cuda: '12.4',
  region: 'Texas, US',
  cloud: 'community',
  spot: false,
  simulated: true,
  suspicious: '',
  at: AT,
  series: 's',
  ...some
});

export const prices = (revision: number): IPrices => ({
  ...part<IOffer>([offer()]),
  revision,
  dropped: 0,
  total: 1,
  hours: 1,
  disk_gb: 20,
  series: {},
  troubles: []
});

export const job = (some: Partial<IJob> = {}): IJob => ({
  id: 'j1',
  pod: null,
  notebook: 'train-0123abcd',
  kernel: 'k1',
  path: 'work/train.ipynb',
  started: null,
  ended: null,
  seconds: null,
  state: 'running',
  progress: null,
  cost_usd: null,
  simulated: true,
  may: {},
  ...some
});

/** A transport that does what it is told, and remembers. */
export class HandTransport implements ITransport {
  readonly kind = 'server';
  looks: ILook[] = [];
  asked: { route: string; body: object; settle(value: unknown): void; fail(error: unknown): void }[] = [];
  sink: ISink | null = null;

  start(sink: ISink): () => void {
    this.sink = sink;
    return () => (this.sink = null);
  }

  ask<T>(route: string, body: object): Promise<T> {
    return new Promise((resolve, reject) => {
      this.asked.push({ route, body, settle: value => resolve(value as T), fail: reject });
    });
  }

  look(look: ILook): void {
    this.looks.push(look);
  }

  openNotebook = null;

  notebook(): string | null {
    return 'work/train.ipynb';
  }
}

/** A Jupyter server that answers what it is given, in order; then the last again. */
export class HandWire implements IWire {
  gets: string[] = [];
  posts: { route: string; body: object }[] = [];
  interrupted: string[] = [];
  opened: string[] = [];
  silent = false;
  refusal: unknown = null;
  slot: ((push: IPush) => void) | null = null;
  answers: Record<string, (() => unknown)[]> = {};

  async get<T>(route: string): Promise<T> {
    this.gets.push(route);
    const waiting = this.answers[route] ?? [];
    const answer = waiting.length > 1 ? waiting.shift() : waiting[0];
    if (!answer) {
      throw new TypeError('no such server');
    }
    return answer() as T;
  }

  async post<T>(route: string, body: object, signal?: AbortSignal): Promise<T> {
    this.posts.push({ route, body });
    if (this.silent) {
      await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new TypeError('broken off'))));
    }
    if (this.refusal !== null) {
      throw this.refusal;
    }
    return {} as T;
  }

  pushes(slot: (push: IPush) => void): () => void {
    this.slot = slot;
    return () => (this.slot = null);
  }

  async interrupt(job: IJob): Promise<boolean> {
    this.interrupted.push(job.id);
    return job.kernel === 'k1';
  }

  open(path: string): void {
    this.opened.push(path);
  }

  notebook(): string | null {
    return null;
  }
}

/** A sink that remembers what was delivered. */
export class Heard implements ISink {
  states: IState[] = [];
  pushed: IPush[] = [];
  priced: IPrices[] = [];
  links: Link[] = [];
  state = (state: IState) => void this.states.push(state);
  push = (push: IPush) => void this.pushed.push(push);
  prices = (prices: IPrices) => void this.priced.push(prices);
  link = (link: Link) => void this.links.push(link);
}
