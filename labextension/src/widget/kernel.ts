import { IJob, ILook, IPrices, IRefusal, ISink, IState, ITransport, Refused } from '../panel/contract';
import { borrow } from '../panel/borrow';
import { CANCEL, jobOf, runs } from '../panel/cancel';

/** The part of anywidget's model that the panel needs. */
export interface IModel {
  get(name: string): unknown;
  on(event: string, slot: (...values: never[]) => void): void;
  off(event: string, slot: (...values: never[]) => void): void;
  send(content: unknown): void;
}

interface IAnswer {
  request: number;
  taken?: boolean;
  status?: number;
  body?: unknown;
}

interface IOpen {
  settle(answer: IAnswer): void;
  taken(): void;
}

/** The notebook of nbclassic, which is all of its page; its kernel hears nothing but an interrupt while a cell runs. */
interface IClassic {
  Jupyter?: { notebook?: { kernel?: { id?: string; interrupt?(): unknown } } };
}

const TAKEN_MS = 1000;
const ANSWER_MS = 5000;
// A kernel whose page is looked at writes its state anew every 30 s, also while a cell runs.
const QUIET_MS = 40_000;

function parsed<T>(value: unknown): T | null {
  if (typeof value !== 'string' || !value) {
    return null;
  }
  try {
    return JSON.parse(value) as T;
  } catch {
    return null;
  }
}

/** Interrupt the kernel of nbclassic's page; `false`: it is not the one that runs `job`, or this is no such page. */
function interruptClassic(job: IJob): boolean {
  const kernel = (globalThis as IClassic).Jupyter?.notebook?.kernel;
  if (!kernel?.id || !kernel.interrupt || !runs(kernel.id, '', job)) {
    return false;
  }
  kernel.interrupt();
  return true;
}

/** The kernel of the notebook that this panel stands in: state by traits, actions by messages, and by the server where there is one. */
export class Kernel implements ITransport {
  readonly kind = 'kernel';
  readonly openNotebook = null;
  private open = new Map<number, IOpen>();
  private count = 0;
  private sink: ISink | null = null;
  private heard = 0;
  private heardAt = -Infinity;

  constructor(
    private readonly model: IModel,
    private readonly element: HTMLElement
  ) {}

  start(sink: ISink): () => void {
    this.sink = sink;
    const state = () => this.deliver(false);
    const prices = () => this.deliverPrices();
    const answer = (content: IAnswer) => this.answered(content);
    this.model.on('change:state', state);
    this.model.on('change:prices', prices);
    this.model.on('msg:custom', answer);
    // What is there at first may have been saved long ago; a kernel that lives tells anew when somebody looks.
    this.deliver(true);
    this.deliverPrices();
    return () => {
      this.sink = null;
      this.model.off('change:state', state);
      this.model.off('change:prices', prices);
      this.model.off('msg:custom', answer);
    };
  }

  async ask<T>(route: string, body: object, waiting?: () => void): Promise<T> {
    const job = jobOf(parsed<IState>(this.model.get('state'))?.jobs.items, body);
    if (route === CANCEL && job && interruptClassic(job)) {
      return {} as T;
    }
    const lent = borrow(this.element, route, body, job);
    if (lent) {
      try {
        return (await lent) as T;
      } catch (error) {
        // 404: the server has no gpuplug, or does not know what this kernel knows; anything else it has decided.
        if (!(error instanceof Refused) || error.status !== 404) {
          throw error;
        }
      }
    }
    return this.send<T>(route, body, waiting);
  }

  look(look: ILook): void {
    const asked = this.heard;
    this.model.send({ request: ++this.count, route: 'looking', body: { client: 'widget', ...look } });
    const silent = () => this.heard === asked && Date.now() - this.heardAt > QUIET_MS;
    setTimeout(() => this.sink?.link(silent() ? 'waiting' : 'live'), ANSWER_MS);
  }

  notebook(): string | null {
    return null;
  }

  private send<T>(route: string, body: object, waiting?: () => void): Promise<T> {
    const request = ++this.count;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => waiting?.(), TAKEN_MS);
      this.open.set(request, {
        taken: () => clearTimeout(timer),
        settle: answer => {
          clearTimeout(timer);
          this.open.delete(request);
          if ((answer.status ?? 500) < 300) {
            resolve(answer.body as T);
          } else {
            reject(new Refused(answer.body as IRefusal, answer.status ?? 500));
          }
        }
      });
      this.model.send({ request, route, body });
    });
  }

  private answered(answer: IAnswer): void {
    this.hear();
    const open = this.open.get(answer.request);
    if (answer.taken) {
      open?.taken();
    } else {
      open?.settle(answer);
    }
  }

  private hear(): void {
    this.heard += 1;
    this.heardAt = Date.now();
    this.sink?.link('live');
  }

  private deliver(saved: boolean): void {
    const state = parsed<IState>(this.model.get('state'));
    if (state) {
      this.sink?.state(state, saved);
      if (!saved) {
        this.hear();
      }
    }
  }

  private deliverPrices(): void {
    const prices = parsed<IPrices>(this.model.get('prices'));
    if (prices) {
      this.sink?.prices(prices);
    }
  }
}
