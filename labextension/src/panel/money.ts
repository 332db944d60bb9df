/** Exact dollars: whole micro-dollars in a number, which is exact up to nine thousand million dollars. */

const SCALE = 1_000_000;
const AMOUNT = /^(-?)(\d{1,9})(?:\.(\d{1,6}))?$/;
const HOUR_MS = 3_600_000;

/** Read `"0.310000"` as micro-dollars; `null` for what is not known or makes no sense. */
export function micros(text: string | null | undefined): number | null {
  const found = typeof text === 'string' ? AMOUNT.exec(text) : null;
  if (!found) {
    return null;
  }
  const size = Number(found[2]) * SCALE + Number((found[3] ?? '').padEnd(6, '0'));
  return found[1] ? -size : size;
}

/** Show micro-dollars with `digits` places, rounded up from the half; a dash when not known, and what rounds to nothing as less than the least. */
export function dollars(amount: number | null, digits = 2): string {
  if (amount === null) {
    return '–';
  }
  const unit = 10 ** (6 - digits);
  const rounded = Math.round(Math.abs(amount) / unit);
  if (amount > 0 && rounded === 0) {
    return `<${dollars(unit, digits)}`;
  }
  const whole = Math.floor(rounded / 10 ** digits);
  const rest = String(rounded % 10 ** digits).padStart(digits, '0');
  return `${amount < 0 ? '−' : ''}$${whole}${digits ? `.${rest}` : ''}`;
}

/** Show a price per hour: cents, and a third place below ten cents. */
export function rate(amount: number | null): string {
  return dollars(amount, amount !== null && amount < 100_000 && amount % 10_000 !== 0 ? 3 : 2);
}

/** What has been spent `ms` after `cost` was true, at `perHour`. */
export function running(cost: number | null, perHour: number | null, ms: number): number | null {
  if (cost === null) {
    return null;
  }
  return cost + Math.floor(((perHour ?? 0) * Math.max(0, ms)) / HOUR_MS);
}
