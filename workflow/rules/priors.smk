# From tags to class activation maps, and to maps put together or made elsewhere.


rule classifier:
    input:
        unpack(plan.inputs("classifier")),
    output:
        f"{RUN}/classifiers/{{name}}/manifest.json",
        f"{RUN}/classifiers/{{name}}/model.safetensors",
        f"{RUN}/classifiers/{{name}}/metrics.jsonl",
        f"{RUN}/classifiers/{{name}}/predictions.csv",
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
        settings=plan.settings("classifier"),
        code=plan.code("classifier"),
        weights=plan.weights_content("classifier"),
        run=plan.program("classifier"),
        inputs=plan.flags("classifier"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Training classifier {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


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
        gpu=1,
        mem_mb=NEEDS["cams"].memory,
        runtime=NEEDS["cams"].minutes,
    params:
        settings=plan.settings("cams"),
        code=plan.code("cams"),
        run=plan.program("cams"),
        inputs=plan.flags("cams"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Class activation maps {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule ensemble:
    input:
        unpack(plan.inputs("ensemble")),
    output:
        f"{RUN}/cams/{{name}}/manifest.json",
        f"{RUN}/cams/{{name}}/agreement.csv",
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
        mem_mb=NEEDS["ensemble"].memory,
        runtime=NEEDS["ensemble"].minutes,
    params:
        settings=plan.settings("ensemble"),
        code=plan.code("ensemble"),
        run=plan.program("ensemble"),
        inputs=plan.flags("ensemble"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Putting maps together: {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


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
        mem_mb=NEEDS["external_cams"].memory,
        runtime=NEEDS["external_cams"].minutes,
    params:
        settings=plan.settings("external_cams"),
        code=plan.code("external_cams"),
        content=plan.elsewhere_content("external_cams"),
        run=plan.program("external_cams"),
        inputs=plan.flags("external_cams"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Taking in maps made elsewhere: {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"
