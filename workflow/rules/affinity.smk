# From maps to pixels that belong together, and maps that walk along them.


rule affinity_labels:
    input:
        unpack(plan.inputs("affinity_labels")),
    output:
        f"{RUN}/affinity-labels/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/affinity-labels/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/affinity-labels/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("affinity_labels"),
    conda:
        "../../envs/environment.yml"
    threads: CORES
    resources:
        mem_mb=plan.shared_memory("affinity_labels"),
        runtime=NEEDS["affinity_labels"].minutes,
    params:
        command=plan.command("affinity_labels"),
        tee=plan.tee,
    message:
        "Affinity labels {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule affinity_labels as affinity_labels_shard with:
    output:
        f"{RUN}/affinity-labels/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/affinity-labels/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/affinity-labels/{name}/{part}-of-{parts}.tsv"
    message:
        "Affinity labels {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule affinity:
    input:
        unpack(plan.inputs("affinity")),
    output:
        f"{RUN}/affinity/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/affinity/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/affinity/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("affinity"),
    conda:
        "../../envs/environment.yml"
    threads: plan.cores("affinity", GPU_CORES)
    resources:
        gpu=plan.processes("affinity"),
        mem_mb=plan.memory("affinity"),
        runtime=NEEDS["affinity"].minutes,
    params:
        command=plan.command("affinity"),
        tee=plan.tee,
    message:
        "Training affinity {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


rule walk:
    input:
        unpack(plan.inputs("walk")),
    output:
        f"{RUN}/cams/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("walk"),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=plan.gpus,
        mem_mb=plan.shared_memory("walk"),
        runtime=NEEDS["walk"].minutes,
    params:
        command=plan.command("walk"),
        tee=plan.tee,
    message:
        "Random walk {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule walk as walk_shard with:
    output:
        f"{RUN}/cams/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.tsv"
    message:
        "Random walk {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"
