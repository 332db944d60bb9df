import { describe, expect, it } from 'vitest';
import { dollars, micros, rate, running } from '../src/panel/money';
import { ago, duration, folded, moment, plain, webAddress } from '../src/panel/text';

describe('money', () => {
  it('is read exactly and never guessed', () => {
    expect(micros('0.310000')).toBe(310_000);
    expect(micros('123456789.123456')).toBe(123_456_789_123_456);
    expect(micros('-0.5')).toBe(-500_000);
    for (const nonsense of [null, undefined, '', 'NaN', '1e308', '0x10', '1,5', ' 1', '0.1234567', '9'.repeat(10)]) {
      expect(micros(nonsense)).toBeNull();
    }
  });

  it('is shown in cents, a small rate with a third place, and what is not known as a dash', () => {
    expect(dollars(310_000)).toBe('$0.31');
    expect(dollars(5_000)).toBe('$0.01');
    expect(dollars(-1_999_999)).toBe('−$2.00');
    expect(dollars(46, 4)).toBe('<$0.0001');
    expect(dollars(300)).toBe('<$0.01');
    expect(dollars(0)).toBe('$0.00');
    expect(rate(4_000)).toBe('$0.004');
    expect(rate(310_000)).toBe('$0.31');
    expect(dollars(null)).toBe('–');
  });

  it('that runs on grows with the rate and not before it was true', () => {
    expect(running(120_000, 360_000, 10_000)).toBe(121_000);
    expect(running(120_000, 360_000, -5_000)).toBe(120_000);
    expect(running(null, 360_000, 1)).toBeNull();
  });
});

describe('words', () => {
  it('tell durations and ages in units that a person uses', () => {
    expect([0.4, 59.9, 60, 880, 3600, 90_000].map(duration)).toEqual(['0 s', '59 s', '1:00', '14:40', '1 h 00 min', '1 d 1 h']);
    expect([3, 27, 200, 7200, 260_000].map(each => ago(plain, each))).toEqual(['just now', '20 s ago', '3 min ago', '2 h ago', '3 d ago']);
  });

  it('are filled in without reading what was filled in again', () => {
    expect(plain.__('%1 and %2', '%2', 'x')).toBe('%2 and x');
    expect(plain._n('%1 pod', '%1 pods', 1)).toBe('1 pod');
    expect(plain._n('%1 pod', '%1 pods', 2)).toBe('2 pods');
  });

  it('are compared as a person means them', () => {
    expect(folded('RTX_4090')).toBe(folded('rtx 4090'));
  });

  it('of a time that makes no sense are none', () => {
    expect(moment('yesterday')).toBeNull();
    expect(moment('2026-11-25T14:00:00.000Z')).toBe(Date.UTC(2026, 10, 25, 14));
  });
});

describe('a link', () => {
  it('is made of https only', () => {
    expect(webAddress('https://cloud.vast.ai/instances/')).toBe('https://cloud.vast.ai/instances/');
    for (const hostile of ['javascript:alert(1)', 'http://x', 'data:text/html,x', 'https://a b', null]) {
      expect(webAddress(hostile)).toBeNull();
    }
  });
});
