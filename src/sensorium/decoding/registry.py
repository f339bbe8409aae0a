"""Every search by name; third parties add theirs under the entry-point group."""

ENTRY_POINTS = "sensorium.searches"

SEARCHES: dict[str, str] = {
    "greedy": "sensorium.decoding.search:Greedy",
    "sample": "sensorium.decoding.search:Sample",
    "beam": "sensorium.decoding.beam:Beam",
}
