"""`vlm ask`: one question about one image file."""

from pathlib import Path

from vlm.errors import UserError, nearest


def ask(run_dir: str, image: str, question: str, output: str | None) -> int:
    """Prints the answer; if it holds boxes, also writes the picture with them drawn."""
    data = _read_image(Path(image))
    from vlm.runner.ask import Predictor  # after the check: jax takes a second to import

    answer = Predictor.load(run_dir).ask(data, question)
    if answer.prompt != question:
        print(f'asked as: {answer.prompt}')
    if not answer.boxes:
        print(answer.text)
        return 0
    from vlm.runner.drawing import draw_boxes

    for box, label in answer.boxes:
        print(' '.join(f'{x:.3f}' for x in box), label)
    target = Path(output) if output else Path(f'{Path(image).stem}.boxes.png')
    try:
        target.write_bytes(draw_boxes(data, answer.boxes))
    except OSError as error:
        raise UserError(f'cannot write {target}: {error.strerror}.') from error
    print(f'drawn in {target} (boxes are y_min x_min y_max x_max, as shares of the image)')
    return 0


def _read_image(path: Path) -> bytes:
    from vlm.data.image_files import ImageError, decode_image

    try:
        data = path.read_bytes()
    except OSError as error:
        beside = [p.name for p in path.parent.glob('*')] if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        hint = f' Nearest there: {", ".join(close)}.' if close else ''
        raise UserError(f'cannot read the image {path}: {error.strerror}.{hint}') from error
    try:
        decode_image(data)
    except ImageError as error:
        raise UserError(f'{path}: {error}.') from error
    return data
