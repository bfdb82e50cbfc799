"""The choice of a view's codec."""

from collections.abc import Collection, Mapping

from asgard.common.errors import ContractError, EnvironmentSetupError, installing
from asgard.features.views import Codec
from asgard.serving.codecs.base import RowCodec


def row_codec(
    codec: Codec | str, view: str, keys: Mapping[str, str], features: Mapping[str, str], before: Collection[str] = ()
) -> RowCodec:
    """Return the codec of a view.

    Args:
        codec: name of the codec.
        view: name of the view.
        keys, features: name -> type, in order.
        before: features of earlier declarations, which rows written in place may still have.

    Raises:
        ContractError: the codec can't store a type, or is unknown.
        EnvironmentSetupError: a library that the codec needs is not installed.
    """
    if codec not in list(Codec):
        raise ContractError(
            f"View {view} is stored with codec {codec!r}; known codecs: {', '.join(Codec)}.",
            hint="Use the version of Asgard that wrote the view, or a later one.",
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
