"""Captions of six photos, what was said of them, and what pycocoevalcap 1.2 gives for them (see `test_metrics_captions`)."""

SAID = [
    "a dog runs through the green grass",
    "two men are sitting on a bench",
    "a little girl in a pink dress plays with a ball",
    "the dog dog dog is running",
    "a man",
    "people ride horses on the beach at the sunset near the water",
]
RIGHT = [
    ["a brown dog runs through the grass", "the dog is running over a green field", "a dog in the grass"],
    ["two men sit on a wooden bench", "two old men are talking", "some men sitting on a bench in a park"],
    ["a girl in a pink dress is playing", "a small child plays with a red ball", "the little girl kicks a ball"],
    ["a dog is running on the beach", "the black dog runs", "a wet dog is running near the water"],
    ["a man in a blue shirt climbs a rock", "a climber on a cliff", "a man is climbing"],
    ["people on horses at the beach", "several riders on the beach at sunset", "horses walk near the water"],
]
