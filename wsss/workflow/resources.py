"""What each rule asks for: cores, GPU, memory and minutes, with the reason beside each number.

A job asks for ``base + each x threads`` megabytes, as much again at the second and the third attempt, and for
``minutes``; what begins anew at each attempt gets more time, too. On one machine nothing is limited by them unless
``--resources mem_mb=N`` says so. Peaks and times below are from manifests, most of them in ``benchmarks/RESULTS.md``:
1,625 photos of 320 pixels, MobileNetV2, two cores, other work beside. No GPU was at hand. Snakemake itself
takes 300 MB in each job.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from wsss.system.gpus import promised

GROWING = 3
"""Attempts up to which a job asks for more."""


@dataclass(frozen=True)
class Need:
    """What a rule's jobs ask for.

    Attributes:
        base: Main memory in MB.
        each: More of it for each thread.
        minutes: Time limit.
        gpu: Whether a network runs, on a GPU where there is one.
        cores: Most cores; None: all.
        resumes: Whether the next attempt goes on where the last one was stopped.
    """

    base: int
    each: int
    minutes: int
    gpu: bool = False
    cores: int | None = None
    resumes: bool = True

    def memory(self, attempt: int, threads: int, processes: int = 1) -> int:
        """Megabytes of a job with ``threads`` in all; one that was killed for its memory gets more when it is tried
        again, but no queue waits for the memory of a twentieth attempt."""
        return (self.base * processes + self.each * threads) * min(attempt, GROWING)

    def time(self, attempt: int) -> int:
        """Minutes of a job. What resumes needs no more of them: it goes on in the next allocation."""
        return self.minutes if self.resumes else self.minutes * min(attempt, GROWING)


# Trainings. Peaks at crop 224 and batch 16, activations included: P-NOC 3.9 GB, C2AM-H 3.1, DeepLabV3+ 2.3, vanilla
# 1.9, edges 1.2. With a GPU the activations lie there; 8 GB are for CUDA and the program, 1 for each thread's loader.
_TRAINING = (8000, 1000)
# Networks over images. Peaks at four scales: maps 3.6 GB, saliency 2.6, predictions 1.5, walk 1.1. They grow with the
# area of the images, which wait a batch on each thread.
_INFERENCE = (8000, 1000)
# Processes on a CPU, one per thread. Peak: 0.6 GB each, part of it code that they share.
_WORKERS = (2000, 700)

NEEDS: dict[str, Need] = {
    # 65 MB for 1,600 images; COCO's annotations are 450 MB of JSON and several times that once they are read.
    "index": Need(4000, 0, 120, resumes=False),
    # 6 minutes for 6 epochs of 1,400 photos (vanilla) or 2 (P-NOC). The time need not suffice: a training that reaches
    # its limit resumes from its checkpoint when it is tried again.
    "classifier": Need(*_TRAINING, 720, gpu=True),
    "saliency": Need(*_TRAINING, 720, gpu=True),
    "affinity": Need(*_TRAINING, 480, gpu=True),
    # 17 minutes for 8 epochs of 1,400 photos; the published 50 epochs of 10,000 are 45 times as many images.
    "segmenter": Need(*_TRAINING, 1440, gpu=True),
    # 3 photos a second at four scales, saliency 5, walk 10: 16,000 photos take 1.5 hours. Larger networks take longer.
    "cams": Need(*_INFERENCE, 480, gpu=True),
    "saliency_maps": Need(*_INFERENCE, 480, gpu=True),
    "predictions": Need(*_INFERENCE, 480, gpu=True),
    # Three scales instead of four and one dense CRF a photo: as long as predictions for each network, so 16,000 photos
    # and three networks take about 5 hours. One network after the other sees a batch: memory is that of the largest.
    "segmenter_masks": Need(*_INFERENCE, 480, gpu=True),
    # From one pass an image (cam) to thousands (score-cam, curves): 480 minutes are for the latter over 1,000 photos.
    "explanation": Need(*_INFERENCE, 480, gpu=True),
    # A pass for each candidate's labels, some ten for the explanation of each that is tried, and JPEGs: 1,000 photos of
    # 320 pixels take about 10 minutes on two cores.
    "memory": Need(*_INFERENCE, 240, gpu=True),
    # About seven passes a step, 100 steps and three sizes: 2,100 passes an image, and again as many with a detector.
    # 24 photos of 224 pixels take 1.5 hours on two cores (DeepLabV3+ on MobileNetV2).
    "audit": Need(*_INFERENCE, 720, gpu=True),
    # A network takes about 2 minutes on two cores (60 steps of 16 photos, 96 maps of 224 pixels): 32 that are bred and
    # as many drawn at random take 2 hours, should they all differ.
    "search": Need(*_INFERENCE, 720, gpu=True),
    # ViT-B/16 on one thread: 2 s for a photo of 384 x 512 (random weights), 1.9 GiB. COCO wants shards or a GPU.
    "text_cams": Need(*_INFERENCE, 480, gpu=True),
    "walk": Need(*_INFERENCE, 480, gpu=True),
    "feature_walk": Need(*_INFERENCE, 480, gpu=True),
    # A dense CRF takes 0.13 s of a core for a photo, labels with two readings 0.25. COCO's 80,000 photos have four
    # times the area: 1.5 and 3 hours on 8 cores.
    "affinity_labels": Need(*_WORKERS, 480),
    "saliency_masks": Need(*_WORKERS, 480),
    "masks": Need(*_WORKERS, 480),
    # A hundred regions of a photo are decoded and counted one by one: tens of milliseconds.
    "regions": Need(*_WORKERS, 240),
    # Reading and writing, little in between; the rest is for slow disks.
    "ensemble": Need(*_WORKERS, 240),
    "external_cams": Need(*_WORKERS, 240, cores=4),
    "vote": Need(*_WORKERS, 240, cores=4),
    "choice": Need(*_WORKERS, 240, cores=4, resumes=False),
    "external_masks": Need(*_WORKERS, 240, cores=4),
    # 0.6 GB, 3 to 6 s for 225 photos on one core: 36 minutes for 80,000.
    "scores": Need(*_WORKERS, 120, cores=4, resumes=False),
    # 0.6 GB, 5 s.
    "summary": Need(2000, 0, 60, cores=4, resumes=False),
    # Reads the masks of one recipe once and those of all on 200 images: as quick as scores; pictures take 10 MB.
    "report": Need(*_WORKERS, 120, cores=4, resumes=False),
    "ablation_table": Need(2000, 0, 30, cores=1, resumes=False),
    "explanations": Need(2000, 0, 30, cores=1, resumes=False),
    "audits": Need(2000, 0, 30, cores=1, resumes=False),
    # Reads each predicted mask of the validation images once: 10 ms, most of it for distances from contours.
    "continual": Need(2000, 0, 120, cores=1, resumes=False),
    "searches": Need(2000, 0, 30, cores=1, resumes=False),
}
"""Rule -> what its jobs ask for."""
# 0.4 GB; copying is a matter of seconds, but what a job left undone is made here.
GATHER = Need(4000, 0, 0)
"""What a job asks for that puts shares together; its minutes are those of its rule."""

FEEDING = 8
"""Cores that keep a GPU fed: seven loader processes give some 1,000 views a second, 560 with colour jitter."""


def gpu_job_cores(cores: int, gpus: int, environment: Mapping[str, str] = os.environ) -> int:
    """Cores of a job with a network on one machine where ``gpus`` such jobs run at once: its share, and no more than
    feed a GPU where there is one. A network on the CPU wants all that it can have."""
    share = max(1, cores // gpus)
    return share if promised(environment) is None else min(share, FEEDING)
