"""Hydra: the model and its initialization stand in one config, and both can be changed on the command line."""

import hydra

from autoinit import autoinit


@hydra.main(version_base=None, config_path=".", config_name="with_hydra")
def main(cfg):
    with autoinit(cfg.init, seed=cfg.seed) as run:
        model = hydra.utils.instantiate(cfg.model)
    print(run.report)
    print(sum(param.numel() for param in model.parameters()), "parameters")


if __name__ == "__main__":
    main()
