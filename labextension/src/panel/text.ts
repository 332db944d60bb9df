/** Words for times and sizes. `ITranslate` is the part of JupyterLab's translation bundle that the panel needs. */

export interface ITranslate {
  __(text: string, ...values: unknown[]): string;
  _n(one: string, many: string, count: number, ...values: unknown[]): string;
}

const fill = (text: string, values: unknown[]) =>
  text.replace(/%(\d)/g, (whole, index) => (Number(index) <= values.length ? String(values[Number(index) - 1]) : whole));

/** English as it stands, for hosts that have no translator. */
export const plain: ITranslate = {
  __: (text, ...values) => fill(text, values),
  _n: (one, many, count, ...values) => fill(count === 1 ? one : many, [count, ...values])
};

/** Milliseconds since 1970 of an RFC 3339 time; `null` when not known. */
export function moment(text: string | null | undefined): number | null {
  const value = text ? Date.parse(text) : NaN;
  return Number.isNaN(value) ? null : value;
}

/** `41 s`, `14:40`, `2 h 05 min`, `3 d 4 h`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) {
    return `${whole} s`;
  }
  const two = (value: number) => String(value).padStart(2, '0');
  if (whole < 3600) {
    return `${Math.floor(whole / 60)}:${two(whole % 60)}`;
  }
  if (whole < 86_400) {
    return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  }
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** A duration in whole units, which does not change each second: `just now`, `3 min ago`. */
export function ago(t: ITranslate, seconds: number): string {
  if (seconds < 10) {
    return t.__('just now');
  }
  if (seconds < 60) {
    return t.__('%1 s ago', Math.floor(seconds / 10) * 10);
  }
  if (seconds < 3600) {
    return t.__('%1 min ago', Math.floor(seconds / 60));
  }
  if (seconds < 172_800) {
    return t.__('%1 h ago', Math.floor(seconds / 3600));
  }
  return t.__('%1 d ago', Math.floor(seconds / 86_400));
}

/** `RTX 4090 ×2`. */
export function gpus(model: string, count: number): string {
  return count > 1 ? `${model} ×${count}` : model;
}

/** Put `text` on the clipboard; `false` where the page may not. */
export async function copied(text: string): Promise<boolean> {
  return (
    navigator.clipboard?.writeText(text).then(
      () => true,
      () => false
    ) ?? false
  );
}

/** Only an address that a browser opens as a page becomes a link. */
export function webAddress(text: string | null): string | null {
  return text !== null && /^https:\/\/[^\s]+$/.test(text) ? text : null;
}

/** What a person types and what a provider writes, made comparable: `rtx4090`. */
export function folded(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, '');
}
