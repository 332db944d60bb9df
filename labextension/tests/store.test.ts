import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { condition, Store } from '../src/panel/store';
import { HandTransport, offer, part, state } from './kit';
import { Refused } from '../src/panel/contract';
import { inShort } from '../src/panel/spend';
import { plain } from '../src/panel/text';

beforeEach(() => void vi.useFakeTimers({ now: Date.UTC(2026, 10, 25, 14) }));
afterEach(() => void vi.useRealTimers());

describe('a part', () => {
  const now = Date.parse('2026-11-25T14:00:30.000Z');

  it('is drawn as what it is, and nothing known is never drawn as nothing there', () => {
    const error = { text: 'vast does not answer' };
    expect(condition(part(null), null, now)).toBe('loading');
    expect(condition(part(null, { error }), null, now)).toBe('error');
    expect(condition(part([]), 0, now)).toBe('empty');
    expect(condition(part([1]), 1, now)).toBe('live');
    expect(condition(part([1], { error }), 1, now)).toBe('offline');
    expect(condition(part([1]), 1, now + 60_000)).toBe('stale');
    expect(condition(part([1], { stale_after_s: null }), 1, now + 9e9)).toBe('live');
  });
});

describe('the store', () => {
  it('counts by the clock of the state, however wrong this computer has it', () => {
    const hand = new HandTransport();
    const store = new Store(hand);
    store.state(state(1, { now: '2026-11-25T15:00:00.000Z' }));
    expect(store.now()).toBe(Date.UTC(2026, 10, 25, 15));
  });

  it('says every ten seconds that somebody looks, and once that nobody does any more', () => {
    const hand = new HandTransport();
    const store = new Store(hand);
    const [one, two] = [{}, {}];
    store.look(one, { parts: ['pods'], gpus: [] });
    store.look(two, { parts: ['pods', 'prices'], gpus: ['RTX 4090'] });
    expect(hand.looks.at(-1)).toEqual({ parts: ['pods', 'prices'], gpus: ['RTX 4090'] });
    const before = hand.looks.length;
    vi.advanceTimersByTime(30_000);
    expect(hand.looks.length - before).toBe(3);
    store.look(one, null);
    store.look(two, null);
    expect(hand.looks.at(-1)).toEqual({ parts: [], gpus: [] });
    const after = hand.looks.length;
    vi.advanceTimersByTime(60_000);
    expect(hand.looks.length).toBe(after);
  });

  it('sends an action once, however often it is pressed', async () => {
    const hand = new HandTransport();
    const store = new Store(hand);
    const first = store.act('destroy gp-1', 'actions/destroy', { id: 'gp-1' });
    expect(await store.act('destroy gp-1', 'actions/destroy', { id: 'gp-1' })).toBeNull();
    expect(hand.asked).toHaveLength(1);
    hand.asked[0].settle({ operation: '7' });
    expect(await first).toEqual({ operation: '7' });
    expect(store.view.sent.size).toBe(0);
  });

  it('keeps a refusal until it has been read', async () => {
    const hand = new HandTransport();
    const store = new Store(hand);
    const asked = store.quote(offer());
    expect(hand.asked[0].body).toEqual({ offer: 'vast/1', notebook: 'work/train.ipynb' });
    hand.asked[0].fail(new Refused({ message: 'the budget of today is spent', hint: 'wait' }, 402));
    expect(await asked).toBeNull();
    expect(store.view.refusals).toMatchObject([{ message: 'the budget of today is spent', hint: 'wait' }]);
    store.forgive('rent vast/1');
    expect(store.view.refusals).toEqual([]);
  });

  it('takes the parts of a push and keeps the others', () => {
    const store = new Store(new HandTransport());
    store.state(state(1));
    const before = store.view.parts;
    store.push({ revision: 2, now: new Date().toISOString(), parts: { jobs: part([]) }, prices_revision: 0 });
    expect(store.view.revision).toBe(2);
    expect(store.view.parts?.jobs).not.toBe(before?.jobs);
    expect(store.view.parts?.pods).toBe(before?.pods);
  });
});

describe('the line in the status bar', () => {
  const figures = { usd_per_hour: '0.310000', today_usd: '0.1', month_usd: '0', budget_day_usd: null, budget_month_usd: null };
  const lists = { by_day: null, by_gpu: null, by_notebook: null, at: null };

  it('tells the rate and how many bill, and never adds make-believe money to real', () => {
    const real = { ...figures, ...lists, pods: 1 };
    const simulated = { ...figures, ...lists, usd_per_hour: '9.000000', pods: 3 };
    const spend = { ...part([]), figures: { real, simulated } };
    expect(inShort(plain, spend)).toEqual({ text: '$0.31/h · 1 pod', billing: true });
    expect(inShort(plain, { ...spend, figures: { real: null, simulated } })?.text).toBe('$9.00/h · 3 pods');
    expect(inShort(plain, { ...spend, figures: null })).toBeNull();
  });
});
