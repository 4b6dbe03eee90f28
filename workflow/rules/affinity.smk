# From maps to pixels that belong together, and maps that walk along them.


rule affinity_labels:
    input:
        unpack(plan.inputs("affinity_labels")),
    output:
        f"{RUN}/affinity-labels/{{name}}/manifest.json",
        directory(f"{RUN}/affinity-labels/{{name}}/masks"),
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
        mem_mb=NEEDS["affinity_labels"].memory,
        runtime=NEEDS["affinity_labels"].minutes,
    params:
        settings=plan.settings("affinity_labels"),
        code=plan.code("affinity_labels"),
        run=plan.program("affinity_labels"),
        inputs=plan.flags("affinity_labels"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Affinity labels {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule affinity:
    input:
        unpack(plan.inputs("affinity")),
    output:
        f"{RUN}/affinity/{{name}}/manifest.json",
        f"{RUN}/affinity/{{name}}/model.safetensors",
        f"{RUN}/affinity/{{name}}/metrics.jsonl",
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
        settings=plan.settings("affinity"),
        code=plan.code("affinity"),
        weights=plan.weights_content("affinity"),
        run=plan.program("affinity"),
        inputs=plan.flags("affinity"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Training affinity {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


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
        gpu=1,
        mem_mb=NEEDS["walk"].memory,
        runtime=NEEDS["walk"].minutes,
    params:
        settings=plan.settings("walk"),
        code=plan.code("walk"),
        run=plan.program("walk"),
        inputs=plan.flags("walk"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Random walk {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"
