# From tags to class activation maps, and to maps put together or made elsewhere.


rule classifier:
    input:
        unpack(plan.inputs("classifier")),
    output:
        f"{RUN}/classifiers/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/classifiers/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/classifiers/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("classifier"),
    conda:
        "../../envs/environment.yml"
    threads: plan.cores("classifier", GPU_CORES)
    resources:
        gpu=plan.processes("classifier"),
        mem_mb=plan.memory("classifier"),
        runtime=NEEDS["classifier"].minutes,
    params:
        command=plan.command("classifier"),
        tee=plan.tee,
    message:
        "Training classifier {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


rule cams:
    input:
        unpack(plan.inputs("cams")),
    output:
        f"{RUN}/cams/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("cams"),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=plan.gpus,
        mem_mb=plan.shared_memory("cams"),
        runtime=NEEDS["cams"].minutes,
    params:
        command=plan.command("cams"),
        tee=plan.tee,
    message:
        "Class activation maps {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule cams as cams_shard with:
    output:
        f"{RUN}/cams/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.tsv"
    message:
        "Class activation maps {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule ensemble:
    input:
        unpack(plan.inputs("ensemble")),
    output:
        f"{RUN}/cams/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("ensemble"),
    conda:
        "../../envs/environment.yml"
    threads: CORES
    resources:
        mem_mb=plan.shared_memory("ensemble"),
        runtime=NEEDS["ensemble"].minutes,
    params:
        command=plan.command("ensemble"),
        tee=plan.tee,
    message:
        "Putting maps together: {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule ensemble as ensemble_shard with:
    output:
        f"{RUN}/cams/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.tsv"
    message:
        "Putting maps together: {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule external_cams:
    input:
        unpack(plan.inputs("external_cams")),
    output:
        f"{RUN}/cams/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("external_cams"),
    conda:
        "../../envs/environment.yml"
    threads: min(4, CORES)
    resources:
        mem_mb=plan.shared_memory("external_cams"),
        runtime=NEEDS["external_cams"].minutes,
    params:
        command=plan.command("external_cams"),
        tee=plan.tee,
    message:
        "Taking in maps made elsewhere: {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule external_cams as external_cams_shard with:
    output:
        f"{RUN}/cams/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.tsv"
    message:
        "Taking in maps made elsewhere: {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"
