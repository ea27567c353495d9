"""The settings of a run of a second."""

from dgunet_jax.training.config import TrainConfig, from_config_dict


def settings(**groups) -> TrainConfig:
    """With changes to its groups, or to values outside of them."""
    values = {
        "model": {"width": 4, "growth": 2, "last_growth": 2, "num_stages": 3},
        "data": {
            "train": "photographs:astronaut,rocket",
            "validation": "photographs:chelsea",
            "degradation": "gaussian(25)",
            "patch": 16,
            "batch": 2,
            "seed": 3,
            "validation_crop": 64,
        },
        "optimizer": {
            "steps": 6,
            "warmup_steps": 1,
            "learning_rate": 1e-3,
            "final_learning_rate": 1e-5,
            "average": 0.9,
        },
        "report": {"progress_every": 1, "evaluate_every": 2, "pictures_every": 4, "save_every": 2},
    }
    for group, changes in groups.items():
        values[group] = values.get(group, {}) | changes if isinstance(changes, dict) else changes
    return from_config_dict(values)
