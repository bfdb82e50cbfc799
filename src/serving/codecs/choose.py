"""Which codec a view's rows are kept in."""

from collections.abc import Collection, Mapping

from asgard.common.errors import ContractError, EnvironmentSetupError, installing
from asgard.features.views import Codec
from asgard.serving.codecs.base import RowCodec


def row_codec(
    codec: Codec | str, view: str, keys: Mapping[str, str], features: Mapping[str, str], before: Collection[str] = ()
) -> RowCodec:
    """The codec of a view.

    Args:
        codec: which.
        view: its name.
        keys, features: name -> type, in order.
        before: features that rows written in place may have too, of declarations before.

    Raises:
        ContractError: the codec can't hold a type, or is not known.
        EnvironmentSetupError: a library that it needs is not installed.
    """
    if codec not in list(Codec):
        raise ContractError(
            f"View {view} is kept in codec {codec!r}; known are {', '.join(Codec)}.",
            hint="Use the version of Asgard that wrote it, or a later one.",
        )
    match Codec(codec):
        case Codec.PACKED:
            from asgard.serving.codecs.packed_rows import PackedRows

            return PackedRows(keys, features)
        case Codec.FEAST:
            try:
                from asgard.serving.codecs.feast_rows import FeastRows
            except ImportError as error:
                raise EnvironmentSetupError(
                    f"Codec feast needs Feast's own package and mmh3: {error.name} is not installed.",
                    hint=installing("serving,features"),
                ) from error
            return FeastRows(view, keys, features, before)
