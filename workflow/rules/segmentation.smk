# From maps to masks, to a segmentation network, to its predictions.


rule masks:
    input:
        unpack(plan.inputs("masks")),
    output:
        f"{RUN}/masks/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/masks/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("masks"),
    conda:
        "../../envs/environment.yml"
    threads: CORES
    resources:
        mem_mb=plan.shared_memory("masks"),
        runtime=NEEDS["masks"].minutes,
    params:
        command=plan.command("masks"),
        tee=plan.tee,
    message:
        "Pseudo masks {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule masks as masks_shard with:
    output:
        f"{RUN}/masks/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.tsv"
    message:
        "Pseudo masks {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule vote:
    input:
        unpack(plan.inputs("vote")),
    output:
        f"{RUN}/masks/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/masks/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("vote"),
    conda:
        "../../envs/environment.yml"
    threads: min(4, CORES)
    resources:
        mem_mb=plan.shared_memory("vote"),
        runtime=NEEDS["vote"].minutes,
    params:
        command=plan.command("vote"),
        tee=plan.tee,
    message:
        "Masks by vote {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule vote as vote_shard with:
    output:
        f"{RUN}/masks/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.tsv"
    message:
        "Masks by vote {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule external_masks:
    input:
        unpack(plan.inputs("external_masks")),
    output:
        f"{RUN}/masks/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/masks/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("external_masks"),
    conda:
        "../../envs/environment.yml"
    threads: min(4, CORES)
    resources:
        mem_mb=plan.shared_memory("external_masks"),
        runtime=NEEDS["external_masks"].minutes,
    params:
        command=plan.command("external_masks"),
        tee=plan.tee,
    message:
        "Taking in masks made elsewhere: {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule external_masks as external_masks_shard with:
    output:
        f"{RUN}/masks/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/masks/{name}/{part}-of-{parts}.tsv"
    message:
        "Taking in masks made elsewhere: {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule segmenter:
    input:
        unpack(plan.inputs("segmenter")),
    output:
        f"{RUN}/segmenters/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/segmenters/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/segmenters/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("segmenter"),
    conda:
        "../../envs/environment.yml"
    threads: plan.cores("segmenter", GPU_CORES)
    resources:
        gpu=plan.processes("segmenter"),
        mem_mb=plan.memory("segmenter"),
        runtime=NEEDS["segmenter"].minutes,
    params:
        command=plan.command("segmenter"),
        tee=plan.tee,
    message:
        "Training segmentation network {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


rule predictions:
    input:
        unpack(plan.inputs("predictions")),
    output:
        f"{RUN}/predictions/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/predictions/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/predictions/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("predictions"),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=plan.gpus,
        mem_mb=plan.shared_memory("predictions"),
        runtime=NEEDS["predictions"].minutes,
    params:
        command=plan.command("predictions"),
        tee=plan.tee,
    message:
        "Predicting with segmentation network {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule predictions as predictions_shard with:
    output:
        f"{RUN}/predictions/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/predictions/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/predictions/{name}/{part}-of-{parts}.tsv"
    message:
        "Predicting with segmentation network {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"
