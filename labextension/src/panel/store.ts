import {
  IFrame,
  ILook,
  IOffer,
  IParts,
  IPrices,
  IPush,
  IQuote,
  IRefusal,
  ISink,
  IState,
  ITransport,
  Link,
  Refused
} from './contract';
import { moment } from './text';

/** How a part is to be drawn. */
export type Condition = 'loading' | 'empty' | 'live' | 'stale' | 'offline' | 'error';

export interface IView {
  link: Link;
  /** When the link became what it is, by this computer's clock. */
  linkSince: number;
  parts: IParts | null;
  prices: IPrices | null;
  revision: number;
  /** When the state was true that a file has kept, ms by its clock; `null`: it comes from a server or a kernel that lives. */
  saved: number | null;
  /** The state's clock minus this computer's, in ms. */
  skew: number;
  /** Actions that were sent and not yet answered, by their key. */
  sent: ReadonlyMap<string, 'sent' | 'waiting'>;
  /** What was refused, newest last; stays until the person has read it. */
  refusals: readonly (IRefusal & { key: string })[];
}

const LOOK_MS = 10_000;

/** How a part with this frame is to be drawn at `now` (ms, the state's clock). `count` is `null` while nothing is known. */
export function condition(frame: IFrame, count: number | null, now: number): Condition {
  if (count === null) {
    return frame.error ? 'error' : 'loading';
  }
  if (frame.error) {
    return 'offline';
  }
  const at = moment(frame.at);
  if (frame.stale_after_s !== null && at !== null && now - at > frame.stale_after_s * 1000) {
    return 'stale';
  }
  return count === 0 ? 'empty' : 'live';
}

/** The panel's memory: what was delivered last, what was asked, and who looks. One for each transport, however many views. */
export class Store implements ISink {
  view: IView = {
    link: 'connecting',
    linkSince: Date.now(),
    parts: null,
    prices: null,
    revision: 0,
    skew: 0,
    saved: null,
    sent: new Map(),
    refusals: []
  };
  private listeners = new Set<() => void>();
  private lookers = new Map<object, ILook>();
  private ticking: ReturnType<typeof setInterval> | null = null;
  private stop: () => void;

  constructor(readonly transport: ITransport) {
    this.stop = transport.start(this);
  }

  dispose(): void {
    this.stop();
    this.lookers.clear();
    this.keepLooking();
    this.listeners.clear();
  }

  /** Call `listener` after each change; the answer ends it. */
  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** The state's clock: a computer whose clock is wrong shows right ages. */
  now(): number {
    return Date.now() + this.view.skew;
  }

  state(state: IState, saved = false): void {
    const { platforms, pods, jobs, spend, alerts, operations } = state;
    const parts = { platforms, pods, jobs, spend, alerts, operations };
    // What was saved tells nothing of this computer's clock.
    const clock = saved ? { saved: moment(state.now) } : { saved: null, skew: this.skew(state.now) };
    this.change({ parts, revision: state.revision, ...clock });
  }

  push(push: IPush): void {
    if (this.view.parts) {
      const parts = { ...this.view.parts, ...push.parts };
      this.change({ parts, revision: push.revision, skew: this.skew(push.now) });
    }
  }

  prices(prices: IPrices): void {
    this.change({ prices });
  }

  link(link: Link): void {
    if (link !== this.view.link) {
      this.change({ link, linkSince: Date.now() });
    }
  }

  /** Tell that `who` looks at these parts; `null`: no longer. */
  look(who: object, look: ILook | null): void {
    if (look) {
      this.lookers.set(who, look);
    } else if (!this.lookers.delete(who)) {
      return;
    }
    this.keepLooking();
    this.tellLook();
  }

  /** Send an action once; a second press while the first is on its way does nothing. `null`: refused, and shown so. */
  async act<T>(key: string, route: string, body: object): Promise<T | null> {
    if (this.view.sent.has(key)) {
      return null;
    }
    this.mark(key, 'sent');
    this.forgive(key);
    try {
      return await this.transport.ask<T>(route, body, () => this.mark(key, 'waiting'));
    } catch (error) {
      const refusal = error instanceof Refused ? error.refusal : { message: String(error) };
      this.change({ refusals: [...this.view.refusals, { ...refusal, key }] });
      return null;
    } finally {
      this.mark(key, null);
    }
  }

  /** Ask what renting `offer` costs at worst. */
  quote(offer: IOffer): Promise<IQuote | null> {
    const notebook = this.transport.notebook();
    return this.act<IQuote>(`rent ${offer.id}`, 'quote', { offer: offer.id, ...(notebook === null ? {} : { notebook }) });
  }

  /** The refusal of `key` has been read. */
  forgive(key: string): void {
    if (this.view.refusals.some(each => each.key === key)) {
      this.change({ refusals: this.view.refusals.filter(each => each.key !== key) });
    }
  }

  private mark(key: string, how: 'sent' | 'waiting' | null): void {
    const sent = new Map(this.view.sent);
    if (how) {
      sent.set(key, how);
    } else {
      sent.delete(key);
    }
    this.change({ sent });
  }

  private skew(now: string): number {
    const value = moment(now);
    return value === null ? this.view.skew : value - Date.now();
  }

  private keepLooking(): void {
    if (this.lookers.size && this.ticking === null) {
      this.ticking = setInterval(() => this.tellLook(), LOOK_MS);
    } else if (!this.lookers.size && this.ticking !== null) {
      clearInterval(this.ticking);
      this.ticking = null;
    }
  }

  private tellLook(): void {
    const looks = [...this.lookers.values()];
    const parts = [...new Set(looks.flatMap(each => each.parts))];
    const priced = looks.filter(each => each.parts.includes('prices'));
    const all = priced.some(each => !each.gpus.length);
    this.transport.look({ parts, gpus: all ? [] : [...new Set(priced.flatMap(each => each.gpus))] });
  }

  private change(some: Partial<IView>): void {
    this.view = { ...this.view, ...some };
    this.listeners.forEach(listener => listener());
  }
}
