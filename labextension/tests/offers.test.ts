import { describe, expect, it } from 'vitest';
import { chosen, NO_FILTER, rows, task, total, typedNumber, typedPrice } from '../src/panel/offers';
import { reach, span } from '../src/panel/window';
import { offer } from './kit';
import { staircase } from '../src/panel/chart';

const ids = (found: ReturnType<typeof chosen>) => found.map(each => each.offer.id);

describe('offers', () => {
  const all = rows([
    offer({ id: 'a', usd_per_hour: '0.500000', reliability: null }),
    offer({ id: 'b', usd_per_hour: '0.300000', gpu: 'H100 SXM', vram_gb: 80, cloud: 'secure', region: 'EU-RO-1' }),
    offer({ id: 'c', usd_per_hour: '0.010000', suspicious: 'far below the others' }),
    offer({ id: 'd', usd_per_hour: 'NaN' }),
    offer({ id: 'e', usd_per_hour: '0.400000', reliability: 0.999, spot: true, platform: 'runpod' })
  ]);

  it('come by true price, suspicious ones last, and without a price not at all', () => {
    expect(ids(chosen(all, NO_FILTER))).toEqual(['b', 'e', 'a', 'c']);
  });

  it('come in the order that was asked for, what is not known behind what is', () => {
    expect(ids(chosen(all, { ...NO_FILTER, sort: 'reliability' }))).toEqual(['e', 'b', 'a', 'c']);
    expect(ids(chosen(all, { ...NO_FILTER, sort: 'vram' }))[0]).toBe('b');
  });

  it('are filtered by what a person types', () => {
    expect(ids(chosen(all, { ...NO_FILTER, gpu: 'rtx_4090', price: '0.45' }))).toEqual(['e', 'c']);
    expect(ids(chosen(all, { ...NO_FILTER, vram: 48 }))).toEqual(['b']);
    expect(ids(chosen(all, { ...NO_FILTER, cloud: 'secure' }))).toEqual(['b']);
    expect(ids(chosen(all, { ...NO_FILTER, region: 'ro' }))).toEqual(['b']);
    expect(ids(chosen(all, { ...NO_FILTER, platform: 'runpod', spot: true }))).toEqual(['e']);
    expect(ids(chosen(all, { ...NO_FILTER, price: 'cheap' }))).toHaveLength(4);
  });

  it('come by what they cost for the stated hours and data, exactly, what is not known last', () => {
    const priced = rows([
      offer({ id: 'cheap', usd_per_hour: '0.300000', sent_usd_per_gb: '0.030000' }),
      offer({ id: 'dear', usd_per_hour: '0.350000', sent_usd_per_gb: '0.000000' }),
      offer({ id: 'mute', usd_per_hour: '0.010000', sent_usd_per_gb: null })
    ]);
    const sums = (filter: typeof NO_FILTER) => chosen(priced, filter).map(each => [each.offer.id, total(each, task(filter))]);
    expect(sums(NO_FILTER).map(each => each[0])).toEqual(['mute', 'cheap', 'dear']);
    expect(sums({ ...NO_FILTER, hours: '2', data: '10' })).toEqual([['dear', 700_000], ['cheap', 900_000], ['mute', null]]);
    expect(sums({ ...NO_FILTER, hours: '0,5', data: '' })).toEqual([['mute', 5_000], ['cheap', 150_000], ['dear', 175_000]]);
    expect(chosen(priced, { ...NO_FILTER, hours: '20', data: '10' }).map(each => each.offer.id)).toEqual(['cheap', 'dear', 'mute']);
    expect(task({ ...NO_FILTER, hours: 'long', data: '1e9' })).toEqual({ hours: 1, data: 0, stated: false });
    expect(['2', '0.5', ',25', '1e3', '-1', '', '9000'].map(text => typedNumber(text, 8760))).toEqual([2, 0.5, 0.25, null, null, null, null]);
  });

  it('have a cap as it is typed', () => {
    expect(['0.5', '$0.50', ',5', '1', ' 2 '].map(typedPrice)).toEqual([500_000, 500_000, 500_000, 1_000_000, 2_000_000]);
    expect(['', '.', 'x', '1e3', '-1'].map(typedPrice)).toEqual([null, null, null, null, null]);
  });

  it('of a great many are filtered between two frames of a film', () => {
    const many = rows(Array.from({ length: 10_000 }, (_, index) => offer({ id: `v/${index}`, usd_per_hour: `0.${String(index).padStart(6, '0')}` })));
    expect(chosen(many, { ...NO_FILTER, gpu: '4090' })).toHaveLength(10_000);
  });
});

describe('a long list', () => {
  it('has only the rows in sight, and a few around them', () => {
    expect(span(10_000, 60, 0, 600)).toEqual({ first: 0, last: 16 });
    expect(span(10_000, 60, 60_000, 600)).toEqual({ first: 994, last: 1016 });
    expect(span(10, 60, 60_000, 600)).toEqual({ first: 4, last: 10 });
  });

  it('scrolls just as far as the wanted row needs', () => {
    expect(reach(5, 60, 0, 600)).toBeNull();
    expect(reach(10, 60, 0, 600)).toBe(60);
    expect(reach(0, 60, 300, 600)).toBe(0);
  });
});

describe('a sparkline', () => {
  it('is a staircase, and nothing of a single price', () => {
    expect(staircase([[0, 2], [10, 4], [20, 3]], 20, 10)).toBe('M0.0 9.0H10.0V1.0H20.0V5.0');
    expect(staircase([[0, 2]], 20, 10)).toBe('');
  });
});
