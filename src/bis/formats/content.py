"""Content: numbers that look like a time, a duration, an address or an id, and that the word before them says are a
result or a setting. They are matched before the masks and are never set aside.

As in `rules`, the patterns are matched against the shape of a text, in which 0 is the only digit. A word too many here
makes a difference out of a duration; a word too few would hide a result. So in doubt, a word belongs here.
"""

from __future__ import annotations

SPELLED = (
    r"(?:(?:nano|micro|milli)?seconds?|msecs?|millis|secs?|min(?:ute)?s?|hours?|hrs?|days?|ns|us|µs|μs|ms|s|m|h|d)"
)
VALUE = rf"[-+]?\d[\d.,:]*(?:[eE][-+]?\d+)?(?: ?{SPELLED}(?![A-Za-z]))?(?: ?\d+ ?{SPELLED}(?![A-Za-z]))*"
IS = r"(?: is| of| to)?\)?['\"]?\s*[:=(]?\s*['\"]?"
ERRORS = r"(?:mae|mse|rmse|mape|smape|wape|mase|msle|rmsle|mdae|medae|nll|elbo|residuals?|bias)"
"""Measures of an error have the unit of what is predicted, which may be a time."""
SCORES = r"(?:loss|err(?:or)?|acc(?:uracy)?|au(?:ro)?c|ap|map|f0|recall|precision|r0|score|ratio|rate|perplexity|ppl)"
AWAITED = (
    r"(?:survival|wait(?:ing)?|delivery|travel|trip|journey|arrival|departure|event|flight|ride|commute|lead|service"
    r"|dwell|sojourn|transit|reaction|stopping|hitting|failure|predicted|expected|actual|target|forecast)"
)
"""Before `time` or `duration`: one that is studied, and not one that the program took."""
SETTINGS = (
    r"(?:time[ _-]?(?:out|limit)|max(?:imum)?[ _-]time|interval|freq(?:uency)?|window|horizon|look[ _-]?(?:back|ahead)"
    r"|lags?|delay|period|resolution|ttl|budget|deadline|limit|sampling(?: rate)?|every|cool[ _-]?down|patience|stride"
    r"|bins?|seed|random[ _-]?state|version|lr|learning[ _-]rate|age|length|half[ _-]li(?:fe|ves))"
)
CODES = (
    r"(?:colou?r|rgba?|argb|fill|crc\d*|adler\d*|fnv\w*|xxh\w*|murmur\w*|checksum|hash|digest|magic|mask|flags?|status"
    r"|code|errno|opcode|version|seed|key|signature|fingerprint)"
)
CONTENT = (
    r"(?i:md\d|sha\d*|hash|digest|checksum|etag)['\"]?(?: \([^()\n]{1,200}\) =)?[ =:_(-]{0,4}['\"]?[0-9a-f]{32,}",
    r"base00,[0-9A-Za-z+/=]+",
    rf"(?i:{ERRORS}(?:[ _-](?!in\b|after\b|took\b|within\b|and\b)[a-z]+){{0,3}}{IS}{VALUE})",
    rf"(?i:{SCORES}{IS}{VALUE})",
    rf"(?i:{AWAITED}(?:[ _-](?:times?|durations?))?{IS}{VALUE})",
    rf"(?i:{SETTINGS}{IS}{VALUE})",
    rf"(?i:{CODES}{IS}0x[0-9a-f]+)",
)
"""Each begins with a letter."""
