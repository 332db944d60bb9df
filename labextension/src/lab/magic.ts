/** The magic on the first line of a cell. */

const MAGIC = /^%%(remote_gpu|gpu)\b[^\n]*(\n|$)/;
const LOADED = /^\s*%(load_ext|reload_ext)\s+gpuplug\s*$/m;

/** `source` with the magic on its first line, or without it where it was there. */
export function toggled(source: string, options: string): string {
  const found = MAGIC.exec(source);
  return found ? source.slice(found[0].length) : `%%remote_gpu${options ? ` ${options}` : ''}\n${source}`;
}

/** Tell whether a cell of the notebook loads the extension. */
export function loads(sources: readonly string[]): boolean {
  return sources.some(source => LOADED.test(source));
}

/** Tell whether the cell runs on a GPU. */
export function isRemote(source: string): boolean {
  return MAGIC.test(source);
}
