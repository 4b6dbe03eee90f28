from wsss.errors import WsssError as WsssError
from wsss.interfaces.door import Network as Network
from wsss.interfaces.door import Prediction as Prediction
from wsss.interfaces.door import load as load
from wsss.interfaces.door import run as run

__version__: str
__all__ = ["Network", "Prediction", "WsssError", "__version__", "load", "run"]
