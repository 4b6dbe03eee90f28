# From images, and hints of class activation maps, to what is an object of any class.


rule saliency:
    input:
        unpack(plan.inputs("saliency")),
    output:
        f"{RUN}/saliency/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/saliency/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("saliency"),
    conda:
        "../../envs/environment.yml"
    threads: plan.cores("saliency", GPU_CORES)
    resources:
        gpu=plan.processes("saliency"),
        mem_mb=plan.memory("saliency"),
        runtime=NEEDS["saliency"].minutes,
    params:
        command=plan.command("saliency"),
        tee=plan.tee,
    message:
        "Training saliency {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


rule saliency_maps:
    input:
        unpack(plan.inputs("saliency_maps")),
    output:
        f"{RUN}/saliency-maps/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/saliency-maps/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency-maps/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("saliency_maps"),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=plan.gpus,
        mem_mb=plan.shared_memory("saliency_maps"),
        runtime=NEEDS["saliency_maps"].minutes,
    params:
        command=plan.command("saliency_maps"),
        tee=plan.tee,
    message:
        "Saliency maps {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule saliency_maps as saliency_maps_shard with:
    output:
        f"{RUN}/saliency-maps/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/saliency-maps/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency-maps/{name}/{part}-of-{parts}.tsv"
    message:
        "Saliency maps {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule saliency_masks:
    input:
        unpack(plan.inputs("saliency_masks")),
    output:
        f"{RUN}/saliency-masks/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/saliency-masks/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency-masks/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("saliency_masks"),
    conda:
        "../../envs/environment.yml"
    threads: CORES
    resources:
        mem_mb=plan.shared_memory("saliency_masks"),
        runtime=NEEDS["saliency_masks"].minutes,
    params:
        command=plan.command("saliency_masks"),
        tee=plan.tee,
    message:
        "Saliency masks {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule saliency_masks as saliency_masks_shard with:
    output:
        f"{RUN}/saliency-masks/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/saliency-masks/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/saliency-masks/{name}/{part}-of-{parts}.tsv"
    message:
        "Saliency masks {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"
