import { useEffect, useRef } from 'preact/hooks';
import { IQuestion, useHouse, useNow } from './house';

/** The open question. The browser's own dialog keeps the focus inside and closes with Escape; Cancel has the focus first. */
export function Dialog(props: { question: IQuestion; close(): void }) {
  const { t, id } = useHouse();
  const box = useRef<HTMLDialogElement>(null);
  const now = useNow();
  const { question, close } = props;
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    box.current?.showModal();
    return () => before?.focus();
  }, []);
  const late = typeof question.until === 'number' && now > question.until;
  const run = () => {
    close();
    question.run?.();
  };
  return (
    <dialog class="gp-dialog" ref={box} onClose={close} aria-labelledby={`${id}-title`} aria-describedby={`${id}-text`}>
      <h2 id={`${id}-title`}>{question.title}</h2>
      <div id={`${id}-text`}>
        {question.lines.map(each => (
          <p>{each}</p>
        ))}
        {question.warning && <p class="gp-note gp-note-error">{question.warning}</p>}
        {question.command && <pre tabIndex={0}>{question.command}</pre>}
        {late && <p class="gp-note">{t.__('This offer was asked for too long ago: ask again.')}</p>}
      </div>
      <div class="gp-row gp-end">
        <button type="button" onClick={close}>
          {question.verb ? t.__('Cancel') : t.__('Close')}
        </button>
        {question.verb && (
          <button type="button" class={question.danger ? 'gp-danger' : 'gp-primary'} disabled={late} onClick={run}>
            {question.verb}
          </button>
        )}
      </div>
    </dialog>
  );
}
